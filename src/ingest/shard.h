#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/mutex.h"
#include "metadata/catalogue.h"
#include "model/ids.h"
#include "model/row_batch.h"
#include "storage/memtable.h"
#include "wal/wal.h"

namespace molesignal {

/// What one flush has done so far, kept so that a retry repeats it with the same names.
struct FlushAttempt {
    std::string flush_id;
    UnixNanos planned_at;
    std::vector<std::string> object_keys;
    bool intent_recorded = false;
    /// Set once every object is stored: from then on only the commit is repeated.
    std::optional<FlushCommit> commit;
    std::uint32_t failures = 0;
    SteadyNanos retry_at;
};

/// One shard's rows between the log and the parts.
///
/// Rows pass through three places in order: `pending` (in the log, perhaps not durable, not
/// visible), the active memtable (durable, visible) and the frozen memtable (visible, being
/// flushed). Thread-safe.
class Shard {
public:
    enum class Intake : std::uint8_t {
        kOpen = 1,    ///< Takes rows.
        kClosed = 2,  ///< Drains: flushed, then its queue is deleted.
    };

    Shard(ShardInfo info,
          StreamInfo stream,
          Position begin,
          Intake intake,
          std::shared_ptr<MemoryBudget> memory);

    ShardId id() const { return info_.id; }
    Epoch epoch() const { return info_.epoch; }
    const StreamInfo& stream() const { return stream_; }
    QueueId queue() const { return QueueId{info_.id.value}; }

    /// Appends `batch`'s record to the log and queues it; returns its LSN and the position after
    /// it, or nothing if the shard no longer takes rows.
    struct Appended {
        Lsn lsn;
        Position begin;
        Position end;
    };
    Result<std::optional<Appended>> append(Wal& wal,
                                           std::shared_ptr<const RowBatch> batch,
                                           std::span<const Bytes> payload,
                                           std::uint64_t raw_bytes,
                                           SteadyNanos now);

    /// Makes every queued batch up to `durable` visible, in order of position.
    void apply_durable(Lsn durable, SteadyNanos now);

    /// Adds rows found in the log. `begin` is at or after everything added so far; after a gap the
    /// caller flushes first (see has_gap).
    void replay(const RowBatch& batch, Position begin, SteadyNanos now);
    /// Whether rows at `begin` would leave a hole behind the rows held.
    bool has_gap(Position begin) const;

    /// Takes no more rows. What is queued already becomes visible if it turns durable.
    void close_intake();
    bool is_open() const;

    /// The rows that are acknowledged and not released.
    void add_to_snapshot(HotSnapshot& snapshot) const;

    /// Freezes the active memtable for a flush, or returns the one whose flush did not succeed yet.
    /// Null if there is nothing to flush or another thread flushes.
    std::shared_ptr<const Memtable> begin_flush();
    /// Belongs to the thread between begin_flush and end_flush.
    FlushAttempt& attempt() { return attempt_; }
    /// The checkpoint in the catalogue: rows below are in parts.
    Position checkpoint() const;
    /// Releases the frozen rows and wakes the waiters.
    void end_flush_committed(Position checkpoint);
    void end_flush_failed(SteadyNanos retry_at);
    /// Drops all rows (the stream was deleted). False if a flush runs: try again after it.
    bool discard();

    /// Waits until the checkpoint reaches `position`; kTimeout at the deadline.
    Result<> wait_for_checkpoint(const RequestContext& context, Clock& clock, Position position);
    /// Asks for a flush of everything below `position` at once.
    void request_flush(Position position);

    struct State {
        std::uint64_t rows = 0;  ///< In both memtables.
        std::uint64_t active_bytes = 0;
        std::uint64_t frozen_bytes = 0;
        std::uint64_t pending_batches = 0;
        bool open = false;
        bool flushing = false;
        bool flush_wanted = false;  ///< By request_flush or because a flush failed.
        SteadyNanos retry_at;       ///< A failed flush is not repeated before this.
        SteadyNanos oldest_row;     ///< Arrival of the active memtable's first row.
        SteadyNanos last_append;
    };
    State state() const;

private:
    void account() MS_REQUIRES(mutex_);

    const ShardInfo info_;
    const StreamInfo stream_;
    FlushAttempt attempt_;  // Guarded by flushing_: only the flushing thread touches it.

    mutable Mutex mutex_;
    CondVar checkpoint_moved_;
    struct Pending {
        Lsn lsn;
        std::shared_ptr<const RowBatch> batch;
        std::uint64_t raw_bytes = 0;
    };
    std::deque<Pending> pending_ MS_GUARDED_BY(mutex_);
    Position next_position_ MS_GUARDED_BY(mutex_);
    Intake intake_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<Memtable> active_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<const Memtable> frozen_ MS_GUARDED_BY(mutex_);
    MemoryReservation active_memory_ MS_GUARDED_BY(mutex_);
    MemoryReservation frozen_memory_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<MemoryBudget> memory_;
    Position checkpoint_ MS_GUARDED_BY(mutex_);
    Position flush_requested_ MS_GUARDED_BY(mutex_);
    bool flushing_ MS_GUARDED_BY(mutex_) = false;
    SteadyNanos retry_at_ MS_GUARDED_BY(mutex_);
    SteadyNanos oldest_row_ MS_GUARDED_BY(mutex_);
    SteadyNanos last_append_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
