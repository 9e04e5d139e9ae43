// Reads one segment: valid records in order, re-synchronising after what cannot
// be read.
#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "wal/wal_replay.h"

namespace molesignal {
namespace {

/// A window over the file that moves forward, so that a segment is never held
/// in memory whole.
class Window {
public:
    Window(File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

    /// `count` bytes at `offset`, or fewer at the end of the file. Valid until
    /// the next call.
    Result<Bytes> at(std::uint64_t offset, std::uint64_t count) {
        count = std::min(count, file_bytes_ - std::min(file_bytes_, offset));
        if (offset < begin_ || offset + count > begin_ + buffer_.size()) {
            buffer_.resize(
                std::min(std::max<std::uint64_t>(count, kWindowBytes), file_bytes_ - offset));
            begin_ = offset;
            auto got = read_twice(file_, offset, buffer_);
            if (!got && got.error().code() == ErrorCode::kUnavailable) {
                got = read_around_bad_blocks();
            }
            buffer_.resize(got.value_or(0));
            MS_TRY_VOID(std::move(got));
            count = std::min<std::uint64_t>(count, buffer_.size());
        }
        return Bytes(buffer_).subspan(offset - begin_, count);
    }

    /// In blocks that could not be read.
    std::uint64_t bad_bytes() const { return bad_blocks_.size() * kBlockBytes; }

private:
    /// Fills the window block by block; one that the device does not read is zeros.
    Result<std::size_t> read_around_bad_blocks() {
        std::size_t done = 0;
        while (done < buffer_.size()) {
            const auto offset = begin_ + done;
            const auto count =
                std::min<std::uint64_t>(buffer_.size() - done, kBlockBytes - offset % kBlockBytes);
            const auto block = MutableBytes(buffer_).subspan(done, count);
            auto got = read_twice(file_, offset, block);
            if (!got) {
                bad_blocks_.insert(offset / kBlockBytes);
                if (got.error().code() != ErrorCode::kUnavailable ||
                    bad_blocks_.size() > kBadBlocksMax) {
                    return got;
                }
                std::ranges::fill(block, std::byte{0});
                got = count;
            }
            done += *got;
            if (*got < count) {
                break;
            }
        }
        return done;
    }

    static constexpr std::uint64_t kWindowBytes = 1U << 20U;
    static constexpr std::uint64_t kBlockBytes = 4096;
    /// More than this is no bad sector: the device is lost, and what it holds may come back.
    static constexpr std::size_t kBadBlocksMax = 256;
    File& file_;
    std::uint64_t file_bytes_;
    std::set<std::uint64_t> bad_blocks_;
    std::uint64_t begin_ = 0;
    ByteBuffer buffer_;
};

class SegmentScan {
public:
    SegmentScan(const RequestContext& context, File& file, WalScannedSegment& segment)
        : context_(context), window_(file, segment.file_bytes), segment_(segment) {}

    Result<> run(const std::function<Result<>(const WalScannedRecord&)>& visit) {
        MS_TRY_VOID(read_header());
        auto offset = std::uint64_t{kSegmentHeaderBytes};
        segment_.end = offset;
        while (offset + kRecordHeaderBytes <= segment_.file_bytes) {
            MS_TRY(const auto record, read_record(offset));
            if (!record.has_value()) {
                MS_TRY(const auto next, find_next(offset));
                if (next == segment_.file_bytes) {
                    MS_TRY(const auto rest, nonzero_from(offset));
                    tail_ = rest;
                    break;
                }
                segment_.unreadable_bytes += next - offset;
                open_hole(offset, next);
                offset = next;
                continue;
            }
            if (segment_.records > 0 && record->header.lsn.value != previous_.value + 1) {
                open_hole(offset, offset);  // Unless one is open: no byte is bad, a record is.
            }
            close_hole(record->header.lsn);
            note_size(*record);
            if (segment_.records++ == 0) {
                segment_.first_record_offset = offset;
                segment_.first_record_lsn = record->header.lsn;
                segment_.epoch = record->header.epoch;
            }
            segment_.last_lsn = std::max(segment_.last_lsn, record->header.lsn);
            previous_ = record->header.lsn;
            const auto size = record_bytes(record->header.payload_bytes);
            MS_TRY_VOID(visit(*record));
            offset += size;
            segment_.end = offset;
        }
        return {};
    }

    /// Bytes after the last valid record that are not zero.
    std::uint64_t tail() const { return tail_; }
    std::uint64_t bad_bytes() const { return window_.bad_bytes(); }

private:
    static constexpr std::size_t kHolesMax = 4096;

    void open_hole(std::uint64_t begin, std::uint64_t end) {
        const bool is_open = !segment_.holes.empty() && segment_.holes.back().after.value == 0;
        if (!is_open && segment_.holes.size() < kHolesMax) {
            segment_.holes.push_back({.begin = begin, .end = end, .before = previous_});
        }
    }

    void close_hole(Lsn after) {
        if (!segment_.holes.empty() && segment_.holes.back().after.value == 0) {
            segment_.holes.back().after = after;
        }
    }

    /// The checkpoint that heads a segment says how large its file was made.
    void note_size(const WalScannedRecord& record) {
        const auto& header = record.header;
        if (header.kind == WalRecordKind::kCheckpoint &&
            header.rows == static_cast<std::uint32_t>(segment_.number)) {
            segment_.made_bytes = std::max(segment_.made_bytes, header.position.value);
        }
    }

    Result<> read_header() {
        MS_TRY(const auto bytes, window_.at(0, kSegmentHeaderBytes));
        auto header = decode_segment_header(bytes);
        if (header && header->number == segment_.number) {
            segment_.header_valid = true;
            segment_.header = *header;
            segment_.epoch = header->epoch;
        } else if (!header && header.error().code() == ErrorCode::kConflict) {
            return std::move(header).error().wrap(segment_.path);
        } else if (!header && header.error().code() == ErrorCode::kNotFound) {
            MS_TRY(const auto any, nonzero_from(0));
            segment_.never_written = any == 0;
        }
        return {};
    }

    Result<std::optional<WalScannedRecord>> read_record(std::uint64_t offset) {
        using Found = std::optional<WalScannedRecord>;
        MS_TRY(const auto head, window_.at(offset, kRecordHeaderBytes));
        const auto header = decode_record_header(head);
        // A payload length from a header with a good checksum is bounded by the
        // file before it is used. LSNs need not rise: a sector that went to the wrong place must
        // not hide the records behind it.
        if (!header || header->payload_bytes > segment_.file_bytes - offset - kRecordHeaderBytes) {
            return Found();
        }
        // The epoch is random and known to nobody outside: bytes that a client sent
        // and that look like a record are not taken for one.
        const bool epoch_known = segment_.header_valid || segment_.records > 0;
        if (epoch_known && header->epoch != segment_.epoch) {
            return Found();
        }
        MS_TRY(const auto whole, window_.at(offset, kRecordHeaderBytes + header->payload_bytes));
        const auto payload = whole.subspan(kRecordHeaderBytes);
        if (payload.size() != header->payload_bytes || crc32c(payload) != header->payload_crc) {
            return Found();
        }
        return Found(WalScannedRecord{
            .header = *header, .segment = segment_.number, .offset = offset, .payload = payload});
    }

    /// The next offset after `offset` that holds a valid record, or the file's
    /// size.
    Result<std::uint64_t> find_next(std::uint64_t offset) {
        constexpr std::uint64_t kStepBytes = 64U << 10U;
        const auto magic = kRecordMagic;
        offset += kRecordAlignment;
        while (offset + kRecordHeaderBytes <= segment_.file_bytes) {
            MS_TRY_VOID(context_.check());
            MS_TRY(const auto bytes, window_.at(offset, kStepBytes));
            std::uint64_t at = 0;
            for (; at + 4 <= bytes.size(); at += kRecordAlignment) {
                if (load_le<std::uint32_t>(bytes, at) == magic) {
                    break;
                }
            }
            if (at + 4 > bytes.size()) {
                offset +=
                    std::max<std::uint64_t>(bytes.size() / kRecordAlignment, 1) * kRecordAlignment;
                continue;
            }
            offset += at;
            MS_TRY(const auto record, read_record(offset));
            if (record.has_value()) {
                return offset;
            }
            offset += kRecordAlignment;
        }
        return segment_.file_bytes;
    }

    /// Bytes from `offset` to the last one that is not zero.
    Result<std::uint64_t> nonzero_from(std::uint64_t offset) {
        constexpr std::uint64_t kStepBytes = 64U << 10U;
        std::uint64_t last = 0;
        for (auto at = offset; at < segment_.file_bytes; at += kStepBytes) {
            MS_TRY(const auto bytes, window_.at(at, kStepBytes));
            auto i = bytes.size();
            while (i >= 8 && load_le<std::uint64_t>(bytes, i - 8) == 0) {
                i -= 8;
            }
            for (; i > 0; --i) {
                if (bytes[i - 1] != std::byte{0}) {
                    last = at + i - offset;
                    break;
                }
            }
        }
        return last;
    }

    const RequestContext& context_;
    Window window_;
    WalScannedSegment& segment_;
    std::uint64_t tail_ = 0;
    Lsn previous_;
};

}  // namespace

Result<WalScannedSegment> scan_segment(
    const RequestContext& context,
    FileSystem& fs,
    const std::string& path,
    std::uint64_t number,
    const std::function<Result<>(const WalScannedRecord&)>& visit) {
    WalScannedSegment segment;
    segment.number = number;
    segment.path = path;
    MS_TRY(const auto file, fs.open(path, OpenMode::kRead));
    MS_TRY(segment.file_bytes, file->size());
    if (segment.file_bytes < kSegmentHeaderBytes) {
        ByteBuffer bytes(segment.file_bytes);
        MS_TRY(const auto got, read_twice(*file, 0, bytes));
        segment.never_written =
            std::ranges::all_of(Bytes(bytes).first(got), [](auto b) { return b == std::byte{0}; });
        segment.unreadable_bytes = segment.file_bytes;
        return segment;
    }
    SegmentScan scan(context, *file, segment);
    MS_TRY_VOID(scan.run(visit));
    segment.bad_bytes = scan.bad_bytes();
    segment.never_written = segment.never_written && segment.bad_bytes == 0;
    if (!segment.never_written) {
        segment.tail_bytes = scan.tail();
        segment.unreadable_bytes += segment.tail_bytes;
    }
    return segment;
}

}  // namespace molesignal
