#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/request_context.h"
#include "io/file_system.h"
#include "wal/wal.h"
#include "wal/wal_format.h"
#include "wal/wal_reader.h"

namespace molesignal {

/// A valid record met while scanning; `payload` lives during the call.
struct WalScannedRecord {
    WalRecordHeader header;
    std::uint64_t segment = 0;
    std::uint64_t offset = 0;
    Bytes payload;
};

/// Between two valid records, or the header and the first one: bytes that hold none, or no byte at
/// all where LSNs do not follow each other.
struct WalHole {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    Lsn before;  ///< Of the valid record before it; 0 at the begin of the segment.
    Lsn after;   ///< Of the one behind it.
};

struct WalScannedSegment {
    std::uint64_t number = 0;
    std::string path;
    std::uint64_t file_bytes = 0;
    bool header_valid = false;
    bool never_written = false;  ///< All zero: prepared and not used.
    WalSegmentHeader header;
    std::uint64_t records = 0;
    std::uint64_t end = 0;  ///< One past the last valid record.
    std::uint64_t first_record_offset = 0;
    Lsn first_record_lsn;          ///< Of the first one in the file.
    Lsn last_lsn;                  ///< The highest.
    std::vector<WalHole> holes;    ///< In the order of the file; no more than 4096.
    std::uint64_t made_bytes = 0;  ///< The file's size when it was made; 0 if nothing says it.
    std::uint64_t epoch = 0;       ///< Of the header, or of the first valid record without one.
    /// Bytes between valid records, or a damaged header: something was written
    /// and cannot be read.
    std::uint64_t unreadable_bytes = 0;
    std::uint64_t tail_bytes = 0;  ///< Of them, behind the last valid record.
    std::uint64_t bad_bytes = 0;   ///< In blocks that the device does not read any more.
};

/// Reads one segment from front to back and calls `visit` for every valid
/// record; after something unreadable it searches for the next valid record.
/// What the file holds makes it fail only if the header is whole and of another
/// format version (kConflict). Blocks that the device does not read count as zeros;
/// kUnavailable if there are many of them: then the device is lost, not a sector.
Result<WalScannedSegment> scan_segment(
    const RequestContext& context,
    FileSystem& fs,
    const std::string& path,
    std::uint64_t number,
    const std::function<Result<>(const WalScannedRecord&)>& visit);

/// One queue as the log's records describe it.
struct WalReplayQueue {
    ByteBuffer description;
    Position truncated;
    Position next;
    bool deleted = false;
    std::deque<WalExtent> extents;  ///< Live ones, ascending, each position once.
};

/// Everything the log's records say, before any payload is delivered.
struct WalIndex {
    std::vector<WalScannedSegment> segments;  ///< Ascending; without those below.
    std::vector<WalScannedSegment> unused;    ///< Prepared and never written.
    /// The newest ones, if neither header nor any record can be read: torn when
    /// they were begun.
    std::vector<WalScannedSegment> unreadable;
    std::map<QueueId, WalReplayQueue> queues;
    WalReplayStats stats;  ///< Its findings are the damage.
    Lsn last_lsn;          ///< Highest LSN seen anywhere, discarded or not.
    Lsn accepted_lsn;      ///< Highest LSN that counts.
    Lsn durable_lsn;       ///< Highest LSN that any record or header knows to be on
                           ///< stable storage.
    std::uint64_t log_id = 0;
    std::uint64_t last_number = 0;
    std::vector<std::uint64_t> damaged_segments;
    /// A record stands in an older segment than records before it: a sector went to the wrong
    /// place.
    bool is_shuffled = false;
};

/// Reads all segments of `directory`, one after the other, and decides what
/// counts (docs/formats/wal.md, "What a replay accepts"). Keeps about 50 bytes
/// for each record. kConflict: a segment of another log or of a format that
/// this program does not read.
Result<WalIndex> index_log(const RequestContext& context,
                           FileSystem& fs,
                           const std::string& directory);

}  // namespace molesignal
