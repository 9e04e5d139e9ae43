#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "common/thread_pool.h"
#include "wal/wal.h"
#include "wal/wal_format.h"
#include "wal/wal_reader.h"
#include "wal/wal_replay.h"

namespace molesignal {

/// The one implementation of Wal.
///
/// Appends copy into chunks of memory under `mutex_`; the first waiter of a commit writes and syncs
/// all chunks without the lock, then wakes the others. Segments are removed strictly from the
/// oldest on, so that a missing LSN always means damage; what is still needed of an old segment is
/// appended again. Only segments with something to be written or synced keep a descriptor.
class WalLog final : public Wal {
public:
    WalLog(std::string directory,
           const WalOptions& options,
           FileSystem& fs,
           Clock& clock,
           MetricRegistry& metrics);
    ~WalLog() override;

    /// Takes over what index_log found and starts a new segment. `lock` is held from here on.
    Result<> start(const RequestContext& context,
                   WalIndex index,
                   std::unique_ptr<DirectoryLock> lock);

    std::uint64_t log_id() const override { return log_id_; }
    Result<> replay(const RequestContext& context,
                    const std::function<Result<>(const WalBatch&)>& on_batch) override;
    WalReplayStats replay_stats() const override;
    std::vector<WalQueue> queues() const override;
    Result<> check_writable() override;
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
    std::optional<QueueId> pinning_queue() const override;
    bool release_reserve() override;
    void maintain() override;
    Result<> close(const RequestContext& context) override;

private:
    struct Segment {
        std::uint64_t number = 0;
        std::string path;
        std::unique_ptr<File> file;  ///< Null once it is sealed; readers open their own.
        std::uint64_t file_bytes = 0;
        std::uint64_t used_bytes = 0;
        std::uint64_t live_bytes = 0;
        std::map<QueueId, std::uint64_t> live;  ///< The same by queue; no zeros.
        Lsn first_lsn;
        bool damaged = false;   ///< Goes to quarantine/ instead of being unlinked.
        bool evict = false;     ///< Accepted without a readable header: to be rewritten soon.
        bool unsynced = false;  ///< Written without a sync (WalFlushStrategy::kNone).

        void add_live(QueueId queue, std::uint64_t bytes) {
            live_bytes += bytes;
            live[queue] += bytes;
        }
        void drop_live(QueueId queue, std::uint64_t bytes);
    };
    using SegmentPointer = std::shared_ptr<Segment>;
    using SegmentList = std::vector<SegmentPointer>;
    /// Consecutive bytes of one segment that are not durable yet.
    struct Chunk {
        SegmentPointer segment;
        std::uint64_t offset = 0;
        ByteBuffer bytes;
        Lsn last_lsn;
        std::uint64_t records = 0;
    };
    struct Queue {
        ByteBuffer description;
        Position truncated;
        Position next;
        std::deque<WalExtent> extents;  ///< Ascending by position.
    };
    enum class Purpose : std::uint8_t { kRows = 1, kBookkeeping = 2 };

    // wal_start.cc
    static Result<> write_again(File& file, std::uint64_t end);
    Result<> adopt_segments_locked(const WalIndex& index) MS_REQUIRES(mutex_);
    void adopt_queues_locked(WalIndex& index) MS_REQUIRES(mutex_);
    Result<> set_unreadable_aside(const WalIndex& index);
    Result<> replay_queue(const RequestContext& context,
                          QueueId id,
                          WalRecordReader& reader,
                          const std::function<Result<>(const WalBatch&)>& on_batch);
    void lose_extent(QueueId id, std::size_t index, const Error& why);
    Result<> count_quarantined();
    void check_reserve();

    // wal_segments.cc
    Result<SegmentPointer> make_segment_file(std::uint64_t number, std::uint64_t bytes);
    Result<SegmentPointer> make_bookkeeping_segment_locked(std::uint64_t bytes,
                                                           std::uint64_t bytes_min)
        MS_REQUIRES(mutex_);
    void append_queue_table_locked() MS_REQUIRES(mutex_);
    void activate_locked(SegmentPointer segment) MS_REQUIRES(mutex_);
    Result<> ensure_room_locked(std::uint64_t bytes, Purpose purpose) MS_REQUIRES(mutex_);
    Result<> check_budget_locked(std::uint64_t new_bytes) const MS_REQUIRES(mutex_);
    Result<> check_space_locked(std::uint64_t new_bytes) MS_REQUIRES(mutex_);
    void seal_locked() MS_REQUIRES(mutex_);
    /// Prepares the next segment, or has it prepared.
    void prepare_spare();
    void make_spare();
    void drop_spare_locked() MS_REQUIRES(mutex_);
    bool release_reserve_locked(std::uint64_t wanted) MS_REQUIRES(mutex_);
    void rebuild_reserve();
    SegmentPointer find_segment_locked(std::uint64_t number) const MS_REQUIRES(mutex_);
    std::vector<WalCheckpointQueue> queue_table_locked() const MS_REQUIRES(mutex_);
    std::uint64_t bytes_on_disk_locked() const MS_REQUIRES(mutex_);
    std::uint64_t live_bytes_locked() const MS_REQUIRES(mutex_);

    // wal_log.cc
    Result<Lsn> append_rows_locked(const WalRecordHeader& header, std::span<const Bytes> payload)
        MS_REQUIRES(mutex_);
    Lsn append_record_locked(WalRecordHeader header, std::span<const Bytes> payload)
        MS_REQUIRES(mutex_);
    Result<Lsn> append_bookkeeping_locked(WalRecordHeader header, Bytes payload)
        MS_REQUIRES(mutex_);
    void drop_queue_locked(QueueId id) MS_REQUIRES(mutex_);
    /// Writes `chunks`; syncs `earlier` and what was written, in the order of the
    /// log, if `sync`.
    Result<> write_and_sync(std::deque<Chunk>& chunks, const SegmentList& earlier, bool sync);
    /// Waits until everything up to `lsn` is durable; on stable storage whatever
    /// the strategy says if `synced`.
    Result<> wait_locked(Lsn lsn, bool synced) MS_REQUIRES(mutex_);
    /// Writes and syncs for all who wait. Lets go of the lock meanwhile.
    Result<> lead_locked(bool synced) MS_REQUIRES(mutex_);
    void published_locked(std::deque<Chunk>& chunks, const SegmentList& earlier, bool sync)
        MS_REQUIRES(mutex_);
    Result<> check_writable_locked() const MS_REQUIRES(mutex_);
    std::uint64_t pending_bytes_locked() const MS_REQUIRES(mutex_);
    /// Notes why nothing can be written, and says so in a form for whoever sends rows: that the
    /// disk forbids something or has lost a name is no fault of theirs.
    Error refusal_locked(Error error) MS_REQUIRES(mutex_);

    // wal_mend.cc
    /// After a failed round: goes on without space when there is some again, or
    /// turns read-only.
    Error failed_locked(std::deque<Chunk>& chunks, Error error) MS_REQUIRES(mutex_);
    /// After a failed write or sync: moves what is not durable to a new segment.
    /// On failure `failed` holds all that is still to be moved.
    Result<> mend(std::deque<Chunk>& failed, const Error& cause);
    void move_records_locked(std::deque<Chunk>& chunks, const SegmentPointer& to, Chunk& moved)
        MS_REQUIRES(mutex_);
    /// Says in the log that everything before is on stable storage.
    Result<> write_mark_locked() MS_REQUIRES(mutex_);

    // wal_maintenance.cc
    Result<> collect_garbage();
    Result<bool> collect_oldest();
    bool worth_collecting_locked() const MS_REQUIRES(mutex_);
    Result<> rewrite(const RequestContext& context, const SegmentPointer& segment);
    Result<> rewrite_record_locked(const WalScannedRecord& record, const SegmentPointer& from)
        MS_REQUIRES(mutex_);
    void drop_unreadable_locked(const SegmentPointer& segment) MS_REQUIRES(mutex_);
    Result<> retire(const Segment& segment);
    void report_damage_locked(const SegmentPointer& segment,
                              std::uint64_t records,
                              std::string finding) MS_REQUIRES(mutex_);

    const std::string directory_;
    const WalOptions options_;
    FileSystem& fs_;
    Clock& clock_;
    std::unique_ptr<DirectoryLock> lock_;
    std::uint64_t log_id_ = 0;
    std::uint64_t epoch_ = 0;
    Lsn accepted_lsn_;
    Lsn run_first_lsn_;

    mutable Mutex mutex_;
    CondVar synced_;
    CondVar spare_made_;  ///< Or it failed.
    WalReplayStats replay_stats_ MS_GUARDED_BY(mutex_);
    std::map<QueueId, Queue> queues_ MS_GUARDED_BY(mutex_);
    std::deque<SegmentPointer> segments_ MS_GUARDED_BY(mutex_);  ///< Ascending by number.
    SegmentPointer active_ MS_GUARDED_BY(mutex_);
    SegmentPointer spare_ MS_GUARDED_BY(mutex_);
    std::deque<SegmentPointer> full_ MS_GUARDED_BY(mutex_);  ///< To be sealed once durable.
    std::deque<Chunk> pending_ MS_GUARDED_BY(mutex_);
    std::vector<ByteBuffer> free_buffers_ MS_GUARDED_BY(mutex_);
    std::uint64_t next_number_ MS_GUARDED_BY(mutex_) = 1;
    Lsn next_lsn_ MS_GUARDED_BY(mutex_){1};
    Lsn durable_lsn_ MS_GUARDED_BY(mutex_);    ///< By the flush strategy: may be acknowledged.
    Lsn synced_lsn_ MS_GUARDED_BY(mutex_);     ///< On stable storage; what records say.
    Lsn named_lsn_ MS_GUARDED_BY(mutex_);      ///< The highest durable LSN that a record says.
    Lsn last_data_lsn_ MS_GUARDED_BY(mutex_);  ///< Of the last record that is no mark.
    SteadyNanos last_append_at_ MS_GUARDED_BY(mutex_);
    /// No space to move what failed: tried again from `mend_retry_at_` on.
    std::optional<Error> mend_error_ MS_GUARDED_BY(mutex_);
    SteadyNanos mend_retry_at_ MS_GUARDED_BY(mutex_);
    SteadyNanos spare_retry_at_ MS_GUARDED_BY(mutex_);
    bool syncing_ MS_GUARDED_BY(mutex_) = false;
    bool making_spare_ MS_GUARDED_BY(mutex_) = false;
    bool spare_asked_ MS_GUARDED_BY(mutex_) = false;  ///< `aside_` is to make it.
    bool collecting_ MS_GUARDED_BY(mutex_) = false;
    bool read_only_ MS_GUARDED_BY(mutex_) = false;
    std::string problem_ MS_GUARDED_BY(mutex_);    ///< WalStats::problem.
    bool no_space_ MS_GUARDED_BY(mutex_) = false;  ///< The disk had none for the last segment.
    bool has_reserve_ MS_GUARDED_BY(mutex_) = false;
    bool making_reserve_ MS_GUARDED_BY(mutex_) = false;
    bool closed_ MS_GUARDED_BY(mutex_) = false;
    std::uint64_t appended_records_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t appended_bytes_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t syncs_ MS_GUARDED_BY(mutex_) = 0;

    Counter& bytes_total_;
    Counter& records_total_;
    Counter& syncs_total_;
    Counter& sync_errors_;
    Counter& rewritten_total_;
    Counter& damaged_total_;
    Histogram& sync_seconds_;
    Histogram& lock_seconds_;
    Gauge& inflight_gauge_;
    Gauge& read_only_gauge_;
    Gauge& quarantined_gauge_;

    /// WalOptions::prepares_aside. Last: its thread uses all of the above.
    std::unique_ptr<ThreadPool> aside_;
};

}  // namespace molesignal
