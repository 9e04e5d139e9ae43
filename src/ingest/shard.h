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
#include "ingest/flush_attempt.h"
#include "metadata/catalogue.h"
#include "model/ids.h"
#include "model/row_batch.h"
#include "storage/memtable.h"
#include "wal/wal.h"

namespace molesignal {

/// One shard's rows between the log and the parts.
///
/// Rows pass through three places in order: `pending` (in the log, perhaps not durable, not
/// visible), the active memtable (durable, visible) and the frozen memtable (visible, being
/// flushed). Thread-safe. Only `append` waits for the log; nobody else waits for it.
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
          std::shared_ptr<MemoryBudget> memory,
          SteadyNanos now);

    ShardId id() const { return info_.id; }
    Epoch epoch() const { return info_.epoch; }
    const StreamInfo& stream() const { return stream_; }
    QueueId queue() const { return QueueId{info_.id.value}; }

    /// Appends `batch`'s record to the log and queues it; returns its LSN and the positions of its
    /// rows, or nothing if the shard no longer takes rows.
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

    /// Adds rows found in the log; returns the memory of the active memtable. `begin` is at or
    /// after everything added so far; after a gap the caller flushes first (see has_gap).
    std::uint64_t replay(const RowBatch& batch, Position begin, SteadyNanos now);
    /// Whether rows at `begin` would leave a hole behind the rows held.
    bool has_gap(Position begin) const;

    /// Takes no more rows. What is queued already becomes visible if it turns durable.
    void close_intake();
    bool is_open() const;

    /// The rows that are acknowledged and not released.
    void add_to_snapshot(HotSnapshot& snapshot) const;
    /// One past the last of them, if there is any.
    std::optional<Position> visible_end() const;

    /// Freezes the active memtable for a flush, or returns the one whose flush did not succeed yet.
    /// Null if there is nothing to flush or another thread flushes.
    std::shared_ptr<const Memtable> begin_flush();
    /// Belongs to the thread between begin_flush and end_flush.
    FlushAttempt& attempt() { return attempt_; }
    /// The checkpoint in the catalogue: rows below are in parts.
    Position checkpoint() const;
    /// Releases the frozen rows and wakes the waiters.
    void end_flush_committed(Position checkpoint);
    void end_flush_failed(const Error& error, SteadyNanos retry_at);
    /// The shard could not be removed after its last flush.
    void retire_failed(const Error& error, SteadyNanos retry_at);
    /// Drops all rows, after a running flush if there is one, and takes no more: the stream was
    /// deleted.
    void discard();

    /// Waits until the checkpoint reaches `position`; kTimeout at the deadline.
    Result<> wait_for_checkpoint(const RequestContext& context, Clock& clock, Position position);
    /// Asks for a flush of everything below `position`, due at `at`.
    void request_flush(Position position, SteadyNanos at);

    struct State {
        std::uint64_t rows = 0;  ///< In both memtables.
        std::uint64_t active_bytes = 0;
        std::uint64_t frozen_bytes = 0;
        std::uint64_t pending_batches =
            0;  ///< In the log and not visible; one that is appended now.
        bool open = false;
        bool flushing = false;
        bool discarded = false;
        SteadyNanos flush_at;    ///< By request_flush, or at once because a flush failed; or never.
        SteadyNanos retry_at;    ///< Nothing is tried again before this.
        SteadyNanos oldest_row;  ///< Arrival of the active memtable's first row.
        SteadyNanos last_append;
        std::uint32_t failures = 0;  ///< In a row.
        std::string last_error;
    };
    State state() const;

private:
    void account() MS_REQUIRES(mutex_);
    void drop_rows() MS_REQUIRES(mutex_);

    const ShardInfo info_;
    const StreamInfo stream_;
    FlushAttempt attempt_;  // Guarded by flushing_: only the flushing thread touches it.

    /// Held over an append to the log, so that positions and LSNs grow together; taken before
    /// mutex_.
    Mutex append_order_;
    mutable Mutex mutex_;
    CondVar checkpoint_moved_;
    struct Pending {
        Lsn lsn;
        std::shared_ptr<const RowBatch> batch;
        std::uint64_t raw_bytes = 0;
        MemoryReservation memory;
    };
    std::deque<Pending> pending_ MS_GUARDED_BY(mutex_);
    bool appending_ MS_GUARDED_BY(mutex_) = false;
    Position next_position_ MS_GUARDED_BY(mutex_);
    Intake intake_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<Memtable> active_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<const Memtable> frozen_ MS_GUARDED_BY(mutex_);
    MemoryReservation active_memory_ MS_GUARDED_BY(mutex_);
    MemoryReservation frozen_memory_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<MemoryBudget> memory_;
    Position checkpoint_ MS_GUARDED_BY(mutex_);
    Position flush_requested_ MS_GUARDED_BY(mutex_);
    SteadyNanos flush_at_ MS_GUARDED_BY(mutex_) = SteadyNanos::never();
    bool flushing_ MS_GUARDED_BY(mutex_) = false;
    bool discarded_ MS_GUARDED_BY(mutex_) = false;
    SteadyNanos retry_at_ MS_GUARDED_BY(mutex_);
    SteadyNanos oldest_row_ MS_GUARDED_BY(mutex_);
    SteadyNanos last_append_ MS_GUARDED_BY(mutex_);
    std::uint32_t failures_ MS_GUARDED_BY(mutex_) = 0;
    std::string last_error_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
