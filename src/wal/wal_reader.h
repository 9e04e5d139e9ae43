#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/bytes.h"
#include "common/result.h"
#include "io/file_system.h"
#include "wal/wal.h"

namespace molesignal {

/// A batch record on disk. A log may hold millions: kept small.
struct WalExtent {
    Position begin;
    std::uint32_t rows = 0;
    std::uint32_t payload_bytes = 0;
    std::uint64_t segment = 0;  ///< Number.
    std::uint64_t offset = 0;   ///< Of the record's header.
    Lsn lsn;
    Position end() const { return Position{begin.value + rows}; }
};

/// Reads batch records one after the other; goes ahead while they follow each other in a segment.
/// One thread at a time.
class WalRecordReader {
public:
    explicit WalRecordReader(FileSystem& fs) : fs_(fs) {}

    /// The payload of the record at `extent` of the segment file `path`; valid until the next call.
    /// kCorruption: the record is not what it was when the log was indexed, or the device does not
    /// read it any more; kUnavailable: it does not read many of them.
    Result<Bytes> read(const std::string& path, const WalExtent& extent);

private:
    Result<Bytes> bytes_at(std::uint64_t offset, std::uint64_t count);

    FileSystem& fs_;
    std::string path_;
    std::unique_ptr<File> file_;
    std::uint64_t begin_ = 0;  ///< Of `buffer_` in the file.
    ByteBuffer buffer_;
    std::uint64_t unreadable_ = 0;
};

/// Reads like File::read_at; tries once more after kUnavailable.
Result<std::size_t> read_twice(File& file, std::uint64_t offset, MutableBytes out);

}  // namespace molesignal
