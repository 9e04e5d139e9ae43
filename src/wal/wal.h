#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "common/request_context.h"
#include "common/result.h"
#include "common/strong_id.h"
#include "io/file_system.h"
#include "model/ids.h"

namespace molesignal {

/// A queue of the log: one shard's records. Equal to the shard's id.
using QueueId = StrongId<struct QueueIdTag>;
/// Number of a record in the whole log, strictly increasing over restarts.
using Lsn = StrongId<struct LsnTag>;

enum class WalFlushStrategy : std::uint8_t {
    kBatch = 1,       ///< Group commit before the acknowledgement.
    kEveryWrite = 2,  ///< One sync for each append.
    kNone = 3,        ///< No sync: an acknowledged row survives the process, not the machine.
};

struct WalOptions {
    std::uint64_t segment_bytes = 64ULL << 20U;   ///< wal.segment_size_mb
    std::uint64_t total_bytes_max = 4ULL << 30U;  ///< wal.total_mb; above it appends are refused.
    /// wal.reserve_mb: freed when the disk is full. While it is away, rows get a new segment only
    /// if the disk has room for both.
    std::uint64_t reserve_bytes = 64ULL << 20U;
    std::uint64_t record_bytes_max = 64ULL << 20U;  ///< One record, header included.
    WalFlushStrategy flush_strategy = WalFlushStrategy::kBatch;
    /// A sealed segment whose live share is below this is rewritten forward.
    double rewrite_live_share = 0.25;
    /// The next segment is prepared by a thread of the log's own. Otherwise by whoever commits,
    /// who then waits longer for the answer, in an order of file operations that repeats itself.
    bool prepares_aside = false;
};

/// A batch that a replay found.
struct WalBatch {
    QueueId queue;
    Position begin;
    std::uint32_t rows = 0;
    Bytes payload;  ///< Valid during the call only.
};

/// A queue that a replay found alive.
struct WalQueue {
    QueueId queue;
    ByteBuffer description;  ///< What create_queue was given.
    Position truncated;      ///< Rows below are gone.
    Position next;           ///< One past the last row in the log; at least `truncated`.
};

/// What a replay met.
struct WalReplayStats {
    std::uint64_t segments = 0;
    std::uint64_t records = 0;
    std::uint64_t batches = 0;
    std::uint64_t rows = 0;
    std::uint64_t torn_bytes = 0;       ///< An unacknowledged tail, dropped quietly.
    std::uint64_t damaged_records = 0;  ///< At or below a durable LSN: lost, reported loudly.
    /// Whole records behind a hole in the tail, dropped with it. A power cut does that; without one
    /// the disk has changed the record before them.
    std::uint64_t suspect_records = 0;
    std::vector<std::string> findings;  ///< All that is damaged, for people.
    std::vector<std::string> quarantined_segments;
    std::uint64_t quarantined_before = 0;  ///< Segments that earlier starts have set aside.
};

struct WalStats {
    std::uint64_t segments = 0;
    std::uint64_t bytes = 0;  ///< On disk.
    std::uint64_t live_bytes = 0;
    std::uint64_t appended_records = 0;
    std::uint64_t appended_bytes = 0;
    std::uint64_t syncs = 0;
    Lsn next_lsn;
    Lsn durable_lsn;
    bool read_only = false;     ///< After a failed sync that could not be mended.
    bool out_of_space = false;  ///< Waits for space; goes on by itself.
    bool has_reserve = false;
    std::string problem;  ///< What the last write or segment failed with; empty: they work.
};

/// A write-ahead log: one log, many queues (design §5.1; docs/formats/wal.md).
///
/// Knows records, not what they mean. Thread-safe. The directory is locked for this object.
class Wal {
public:
    /// Opens or creates the log in `directory` and reads what earlier runs have left, for `replay`.
    /// Never appends to a segment of an earlier run. `fs`, `clock` and `metrics` outlive the Wal.
    /// kConflict: another process has the directory, or a segment is not of this log or format.
    static Result<std::unique_ptr<Wal>> open(const RequestContext& context,
                                             const std::string& directory,
                                             const WalOptions& options,
                                             FileSystem& fs,
                                             Clock& clock,
                                             MetricRegistry& metrics);
    virtual ~Wal() = default;

    /// Names this log; random, and the same for its whole life.
    virtual std::uint64_t log_id() const = 0;
    /// Delivers every batch that earlier runs left alive: queue by queue in the order of their ids,
    /// in order of position. To be called once, before the queues change. kCorruption from
    /// `on_batch` means that this record is of no use: it is counted as damaged, its segment goes
    /// to quarantine, and the replay goes on. Any other error ends it.
    virtual Result<> replay(const RequestContext& context,
                            const std::function<Result<>(const WalBatch&)>& on_batch) = 0;
    /// What the start and the replay found.
    virtual WalReplayStats replay_stats() const = 0;
    /// The queues alive now.
    virtual std::vector<WalQueue> queues() const = 0;

    /// Whether a row could be appended: kUnavailable if the log is read-only, kResourceExhausted if
    /// it waits for space.
    virtual Result<> check_writable() = 0;

    /// Makes a queue; durable on return. kConflict: it exists. `description` comes back at replay.
    /// After an error there is no queue.
    virtual Result<> create_queue(const RequestContext& context,
                                  QueueId queue,
                                  Bytes description) = 0;

    /// Appends one batch of `rows` rows at `begin`, which must be the queue's next position
    /// (kInternal otherwise), and returns its LSN without waiting. The record is in the log's
    /// buffer only. kResourceExhausted: total_bytes_max or no disk space; kUnavailable: the log is
    /// read-only, or the disk has refused a segment.
    virtual Result<Lsn> append(QueueId queue,
                               Position begin,
                               std::uint32_t rows,
                               std::span<const Bytes> payload) = 0;

    /// Waits until everything up to `lsn` is on stable storage (by the flush strategy): one waiter
    /// syncs for all. After an error nothing past the last durable LSN counts as stored; the log
    /// has cut it off or is read-only, and the caller must not acknowledge. Ignores the context's
    /// deadline once it syncs.
    virtual Result<> commit(const RequestContext& context, Lsn lsn) = 0;

    /// Everything up to here is on stable storage.
    virtual Lsn durable_lsn() const = 0;

    /// Rows of `queue` below `position` are no longer needed. Recorded, synced lazily (a lost
    /// truncate is harmless); frees segments that hold no live record.
    virtual Result<> truncate(const RequestContext& context, QueueId queue, Position position) = 0;
    /// Drops the queue and what it holds.
    virtual Result<> delete_queue(const RequestContext& context, QueueId queue) = 0;

    virtual WalStats stats() const = 0;
    /// The queue to be truncated first, so that the oldest segment can go: there is one once the
    /// budget has room for less than two more segments.
    virtual std::optional<QueueId> pinning_queue() const = 0;
    /// Frees the reserve if space on the disk is short, so that what frees space in the end can
    /// work. False: there is none, or space is not what is missing.
    virtual bool release_reserve() = 0;
    /// To be called about once a second: says in the log that its end is durable when it is idle,
    /// tries again after a lack of space, makes the reserve anew.
    virtual void maintain() = 0;

    /// Syncs, says in the log that its end is durable, and closes. The destructor without it is a
    /// crash as far as the log is concerned.
    virtual Result<> close(const RequestContext& context) = 0;
};

}  // namespace molesignal
