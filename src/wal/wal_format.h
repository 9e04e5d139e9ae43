#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "wal/wal.h"

namespace molesignal {

// docs/formats/wal.md has the grammar, a worked example and the reasons. All integers
// little-endian.

inline constexpr std::uint64_t kSegmentMagic = 0x474553'4c41'57'53'4dULL;  // "MSWALSEG"
inline constexpr std::uint32_t kRecordMagic = 0x4352534dU;                 // "MSRC"
inline constexpr std::uint32_t kWalFormatVersion = 1;
inline constexpr std::size_t kSegmentHeaderBytes = 64;
inline constexpr std::size_t kRecordHeaderBytes = 64;
inline constexpr std::uint64_t kSegmentBytesMin = 4096;  ///< Of a segment's file.
inline constexpr std::size_t kRecordAlignment = 8;

/// The values reach disk: never reuse one. 2 (schema) is reserved.
enum class WalRecordKind : std::uint8_t {
    kBatch = 1,
    kQueueCreated = 3,
    kTruncate = 4,
    kQueueDeleted = 5,
    kCheckpoint = 6,
    kMark = 7,
};

struct WalSegmentHeader {
    std::uint64_t log_id = 0;
    std::uint64_t number = 0;
    Lsn first_lsn;
    std::uint64_t epoch = 0;
    /// Highest LSN that the run which wrote this segment took over from earlier runs: LSNs between
    /// it and the run's first are discarded tails, not damage.
    Lsn accepted_lsn;
    Lsn run_first_lsn;
    friend bool operator==(const WalSegmentHeader&, const WalSegmentHeader&) = default;
};

struct WalRecordHeader {
    WalRecordKind kind = WalRecordKind::kBatch;
    std::uint32_t payload_bytes = 0;
    std::uint64_t epoch = 0;
    Lsn lsn;
    Lsn durable_lsn;
    QueueId queue;
    Position position;
    std::uint32_t rows = 0;
    std::uint32_t payload_crc = 0;
    friend bool operator==(const WalRecordHeader&, const WalRecordHeader&) = default;
};

/// One queue of a checkpoint record.
struct WalCheckpointQueue {
    QueueId queue;
    Position truncated;
    Position next;
    ByteBuffer description;
    friend bool operator==(const WalCheckpointQueue&, const WalCheckpointQueue&) = default;
};

void encode_segment_header(const WalSegmentHeader& header, MutableBytes out);
/// kCorruption: magic or checksum; kNotFound: all zero (a segment that was never written);
/// kConflict: whole, but of a format that this program does not read.
Result<WalSegmentHeader> decode_segment_header(Bytes in);

void encode_record_header(const WalRecordHeader& header, MutableBytes out);
/// kCorruption for anything that is not a whole header; the payload is not looked at.
Result<WalRecordHeader> decode_record_header(Bytes in);

ByteBuffer encode_checkpoint(const std::vector<WalCheckpointQueue>& queues);
Result<std::vector<WalCheckpointQueue>> decode_checkpoint(Bytes in);

/// Bytes of a record on disk, padding included.
constexpr std::uint64_t record_bytes(std::uint64_t payload_bytes) {
    return (kRecordHeaderBytes + payload_bytes + kRecordAlignment - 1) / kRecordAlignment *
           kRecordAlignment;
}

/// "000000000000002a.wal" for 42.
std::string segment_file_name(std::uint64_t number);
/// The number, or nothing if the name is not a segment's.
bool parse_segment_file_name(const std::string& name, std::uint64_t& number);

}  // namespace molesignal
