#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "wal/wal.h"
#include "wal/wal_format.h"
#include "wal/wal_replay.h"

namespace molesignal {

/// The one implementation of Wal.
///
/// Appends copy into chunks of memory under `mutex_`; the first waiter of a
/// commit writes and syncs all chunks without the lock, then wakes the others.
/// Segments are removed strictly from the oldest on, so that a missing LSN
/// always means damage; what is still needed of an old segment is appended
/// again.
class WalLog final : public Wal {
public:
    WalLog(std::string directory,
           const WalOptions& options,
           FileSystem& fs,
           Clock& clock,
           MetricRegistry& metrics);
    ~WalLog() override;

    /// Takes over what index_log found and starts a new segment.
    Result<> start(const RequestContext& context,
                   WalIndex index,
                   const std::function<Result<>(const WalBatch&)>& on_batch);

    const WalReplayStats& replay_stats() const override { return replay_stats_; }
    std::vector<WalQueue> queues() const override;
    Result<> create_queue(const RequestContext& context, QueueId queue, Bytes description) override;
    Result<Lsn> append(QueueId queue,
                       Position begin,
                       std::uint32_t rows,
                       std::span<const Bytes> payload) override;
    Result<> commit(const RequestContext& context, Lsn lsn) override;
    Lsn durable_lsn() const override;
    Result<> truncate(const RequestContext& context, QueueId queue, Position position) override;
    Result<> delete_queue(const RequestContext& context, QueueId queue) override;
    WalStats stats() const override;
    Result<> close(const RequestContext& context) override;

private:
    struct Segment {
        std::uint64_t number = 0;
        std::string path;
        std::unique_ptr<File> file;
        std::uint64_t file_bytes = 0;
        std::uint64_t used_bytes = 0;
        std::uint64_t live_bytes = 0;
        Lsn first_lsn;
        bool damaged = false;   ///< Goes to quarantine/ instead of being unlinked.
        bool evict = false;     ///< Accepted without a readable header: to be rewritten soon.
        bool unsynced = false;  ///< Written without a sync (WalFlushStrategy::kNone).
    };
    /// Consecutive bytes of one segment that are not durable yet.
    struct Chunk {
        std::shared_ptr<Segment> segment;
        std::uint64_t offset = 0;
        ByteBuffer bytes;
        Lsn last_lsn;
        std::uint64_t records = 0;
    };
    struct Extent {
        Position begin;
        Position end;
        std::uint32_t payload_bytes = 0;
        std::uint64_t offset = 0;
        std::shared_ptr<Segment> segment;
    };
    struct Queue {
        ByteBuffer description;
        Position truncated;
        Position next;
        std::deque<Extent> extents;
    };
    enum class Purpose : std::uint8_t { kRows = 1, kBookkeeping = 2 };

    Result<> deliver(const RequestContext& context,
                     const std::function<Result<>(const WalBatch&)>& on_batch);
    Result<std::shared_ptr<Segment>> create_segment(std::uint64_t bytes, Purpose purpose);
    Result<std::shared_ptr<Segment>> make_segment_file(std::uint64_t number, std::uint64_t bytes);
    void activate_locked(std::shared_ptr<Segment> segment) MS_REQUIRES(mutex_);
    Result<> ensure_room_locked(std::uint64_t bytes, Purpose purpose) MS_REQUIRES(mutex_);
    Result<> check_budget_locked(std::uint64_t new_bytes) MS_REQUIRES(mutex_);
    Lsn append_record_locked(WalRecordHeader header, std::span<const Bytes> payload)
        MS_REQUIRES(mutex_);
    Result<Lsn> append_bookkeeping_locked(WalRecordHeader header, Bytes payload)
        MS_REQUIRES(mutex_);
    std::vector<WalCheckpointQueue> queue_table_locked() const MS_REQUIRES(mutex_);
    std::uint64_t bytes_on_disk_locked() const MS_REQUIRES(mutex_);
    std::uint64_t live_bytes_locked() const MS_REQUIRES(mutex_);

    using SegmentList = std::vector<std::shared_ptr<Segment>>;
    /// Writes `chunks`; syncs `earlier` and what was written, in the order of the
    /// log, if `sync`.
    Result<> write_and_sync(std::deque<Chunk>& chunks, const SegmentList& earlier, bool sync);
    /// Waits until everything up to `lsn` is durable; on stable storage whatever
    /// the strategy says if `synced`.
    Result<> wait_locked(Lsn lsn, bool synced) MS_REQUIRES(mutex_);
    /// Writes and syncs for all who wait. Lets go of the lock meanwhile.
    Result<> lead_locked(bool synced) MS_REQUIRES(mutex_);
    void published_locked(std::deque<Chunk>& chunks, bool sync) MS_REQUIRES(mutex_);
    /// After a failed round: goes on without space when there is some again, or
    /// turns read-only.
    Error failed_locked(std::deque<Chunk>& chunks, Error error) MS_REQUIRES(mutex_);
    Result<> check_writable_locked() const MS_REQUIRES(mutex_);
    std::uint64_t pending_bytes_locked() const MS_REQUIRES(mutex_);
    /// After a failed write or sync: moves what is not durable to a new segment.
    /// On failure `failed` holds all that is still to be moved.
    Result<> mend(std::deque<Chunk>& failed, const Error& cause);
    Result<std::shared_ptr<Segment>> make_bookkeeping_segment_locked(std::uint64_t bytes)
        MS_REQUIRES(mutex_);
    Result<> set_unreadable_aside(const WalIndex& index);
    void make_spare();
    void drop_spare_locked() MS_REQUIRES(mutex_);
    void move_records_locked(std::deque<Chunk>& chunks,
                             const std::shared_ptr<Segment>& to,
                             Chunk& moved) MS_REQUIRES(mutex_);

    Result<> collect_garbage();
    void collect_at_start();
    Result<bool> collect_oldest();
    Result<> rewrite_oldest(const std::shared_ptr<Segment>& segment);
    Result<> retire(const Segment& segment);
    void rebuild_reserve();

    const std::string directory_;
    const WalOptions options_;
    FileSystem& fs_;
    Clock& clock_;
    std::uint64_t log_id_ = 0;
    std::uint64_t epoch_ = 0;
    Lsn accepted_lsn_;
    Lsn run_first_lsn_;
    WalReplayStats replay_stats_;

    mutable Mutex mutex_;
    CondVar synced_;
    std::map<QueueId, Queue> queues_ MS_GUARDED_BY(mutex_);
    std::deque<std::shared_ptr<Segment>> segments_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<Segment> active_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<Segment> spare_ MS_GUARDED_BY(mutex_);
    std::deque<Chunk> pending_ MS_GUARDED_BY(mutex_);
    std::vector<ByteBuffer> free_buffers_ MS_GUARDED_BY(mutex_);
    std::uint64_t next_number_ MS_GUARDED_BY(mutex_) = 1;
    Lsn next_lsn_ MS_GUARDED_BY(mutex_){1};
    Lsn durable_lsn_ MS_GUARDED_BY(mutex_);  ///< By the flush strategy: may be acknowledged.
    Lsn synced_lsn_ MS_GUARDED_BY(mutex_);   ///< On stable storage; what records say.
    bool mend_needed_ MS_GUARDED_BY(mutex_) =
        false;  ///< No space to move what failed; tried again.
    bool syncing_ MS_GUARDED_BY(mutex_) = false;
    bool making_spare_ MS_GUARDED_BY(mutex_) = false;
    bool collecting_ MS_GUARDED_BY(mutex_) = false;
    bool read_only_ MS_GUARDED_BY(mutex_) = false;
    bool has_reserve_ MS_GUARDED_BY(mutex_) = false;
    bool closed_ MS_GUARDED_BY(mutex_) = false;
    std::uint64_t appended_records_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t appended_bytes_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t syncs_ MS_GUARDED_BY(mutex_) = 0;

    Counter& bytes_total_;
    Counter& records_total_;
    Counter& syncs_total_;
    Counter& sync_errors_;
    Counter& rewritten_total_;
    Histogram& sync_seconds_;
    Histogram& lock_seconds_;
    Gauge& inflight_gauge_;
    Gauge& read_only_gauge_;
};

}  // namespace molesignal
