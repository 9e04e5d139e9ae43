#include "wal/wal_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "wal/wal_format.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kAheadBytes = 256U << 10U;
constexpr std::uint64_t kGapBytesMax = 4U << 10U;
/// More than this are no bad sectors: the device is lost, and what it holds may come back.
constexpr std::uint64_t kBadRecordsMax = 256;

}  // namespace

Result<std::size_t> read_twice(File& file, std::uint64_t offset, MutableBytes out) {
    auto got = file.read_at(offset, out);
    if (!got && got.error().code() == ErrorCode::kUnavailable) {
        got = file.read_at(offset, out);
    }
    return got;
}

Result<Bytes> WalRecordReader::bytes_at(std::uint64_t offset, std::uint64_t count) {
    const auto end = begin_ + buffer_.size();
    if (offset < begin_ || offset + count > end) {
        // Records of one queue may lie far apart, with those of many others in between: only what
        // follows closely is read ahead.
        const bool follows = !buffer_.empty() && offset >= begin_ && offset <= end + kGapBytesMax;
        const auto wanted = follows ? std::max(count, kAheadBytes) : count;
        buffer_.resize(wanted);
        begin_ = offset;
        auto got = read_twice(*file_, offset, buffer_);
        if (!got && wanted > count) {
            // The bad sector may lie behind the record.
            buffer_.resize(count);
            got = read_twice(*file_, offset, buffer_);
        }
        buffer_.resize(got.value_or(0));
        MS_TRY_VOID(std::move(got));
    }
    return Bytes(buffer_).subspan(offset - begin_,
                                  std::min<std::uint64_t>(count, begin_ + buffer_.size() - offset));
}

Result<Bytes> WalRecordReader::read(const std::string& path, const WalExtent& extent) {
    if (file_ == nullptr || path != path_) {
        buffer_.clear();
        MS_TRY(file_, fs_.open(path, OpenMode::kRead));
        path_ = path;
    }
    const auto size = kRecordHeaderBytes + std::uint64_t{extent.payload_bytes};
    const auto read = bytes_at(extent.offset, size);
    if (!read && read.error().code() == ErrorCode::kUnavailable &&
        ++unreadable_ <= kBadRecordsMax) {
        return Error(ErrorCode::kCorruption, read.error().message());
    }
    MS_TRY(const auto record, read);
    const auto header = decode_record_header(record);
    if (!header || record.size() != size || header->position != extent.begin ||
        header->rows != extent.rows ||
        crc32c(record.subspan(kRecordHeaderBytes)) != header->payload_crc) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("{}: the record at offset {} was good a moment ago and is not now",
                                 path,
                                 extent.offset));
    }
    return record.subspan(kRecordHeaderBytes);
}

}  // namespace molesignal
