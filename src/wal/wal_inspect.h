#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"
#include "io/file_system.h"
#include "wal/wal.h"

namespace molesignal {

/// One segment file of a log.
struct WalSegmentSummary {
    std::uint64_t number = 0;
    std::string path;
    std::uint64_t file_bytes = 0;
    std::uint64_t used_bytes = 0;  ///< Up to the end of the last valid record.
    std::uint64_t live_bytes = 0;  ///< Of batches that a replay would deliver.
    std::uint64_t unreadable_bytes = 0;
    std::uint64_t records = 0;
    Lsn first_lsn;  ///< Of the header; 0 if it cannot be read.
    Lsn last_lsn;
    bool header_valid = false;
    bool never_written = false;  ///< Prepared and not used yet.
    bool damaged = false;        ///< Durable records of it cannot be read.
};

/// One queue that a replay would find alive.
struct WalQueueSummary {
    QueueId queue;
    Position truncated;
    Position next;
    std::uint64_t batches = 0;
    std::uint64_t rows = 0;
    std::uint64_t live_bytes = 0;
};

/// Valid records on disk by kind, dropped tails and copies included.
struct WalRecordCounts {
    std::uint64_t batches = 0;
    std::uint64_t queues_created = 0;
    std::uint64_t truncates = 0;
    std::uint64_t queues_deleted = 0;
    std::uint64_t checkpoints = 0;
    std::uint64_t marks = 0;
};

struct WalInspection {
    std::uint64_t log_id = 0;
    Lsn accepted_lsn;  ///< Highest LSN that a replay would count.
    WalReplayStats replay;
    WalRecordCounts records;
    std::vector<WalSegmentSummary> segments;  ///< Ascending by number.
    std::vector<WalQueueSummary> queues;      ///< Ascending by id.
    std::vector<std::string> damage;          ///< What verify_wal returns.
};

/// Reads the log in `directory` and says what is in it. Changes nothing; nobody should be writing:
/// records that are on their way look like a torn tail. kNotFound: no such directory.
Result<WalInspection> inspect_wal(const RequestContext& context,
                                  FileSystem& fs,
                                  const std::string& directory);

/// What is damaged, one finding a line; empty if nothing is. Segments that an earlier start has set
/// aside in quarantine/ are findings too. A torn tail is none. Errors as inspect_wal.
Result<std::vector<std::string>> verify_wal(const RequestContext& context,
                                            FileSystem& fs,
                                            const std::string& directory);

}  // namespace molesignal
