#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "ingest/shard.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"
#include "model/row_batch.h"
#include "objectstore/object_store.h"
#include "storage/hot_rows.h"
#include "wal/wal.h"

namespace molesignal {

class Flusher;

struct IngesterOptions {
    std::string wal_directory;
    WalOptions wal;
    std::uint64_t memtable_bytes = 64ULL
                                   << 20U;  ///< ingester.buffer_max_mb: a larger one is flushed.
    std::uint64_t memory_bytes_max =
        192ULL << 20U;  ///< ingester.max_buffer_memory_mb: all memtables together.
    /// ingester.flush_interval_secs; unset: 30–300 s, by the amount waiting.
    std::optional<std::chrono::seconds> flush_interval;
    std::chrono::seconds shard_idle{900};  ///< ingester.shard_idle_secs
    std::chrono::milliseconds persist_timeout{
        6000};                          ///< ingester.persist_timeout_ms: longest wait for memory.
    std::int64_t streams_max = 10'000;  ///< ingester.streams_max, for each organisation.
    std::uint64_t rows_per_group = 32'768;
    int zstd_level = 1;
    bool writes_index = true;  ///< ingester.index
    std::size_t flush_threads = 1;
    /// CommitMode::kWaitFor asks for a flush that is due after this time, so that several share
    /// one.
    std::chrono::seconds wait_for_flush{5};
};

/// When an ingest call returns.
enum class CommitMode : std::uint8_t {
    kAuto = 1,     ///< Rows are durable in the log and visible.
    kWaitFor = 2,  ///< … and in a part, by the next flush, a few seconds later at most.
    kForce = 3,    ///< … and in a part, flushed now.
};

struct IngestReceipt {
    ShardId shard;
    Position begin;
    Position end;
    /// With kWaitFor and kForce: the rows are in parts. False if that takes too long: they are
    /// stored all the same, and must not be sent again.
    bool flushed = false;
};

/// Takes rows in: log, memtable, flush (design §5). One object owns the log and all shards of a
/// process.
///
/// An `ingest` that returns a receipt has its rows on stable storage (by the flush strategy) and
/// visible to every later hot snapshot. After an error rows of the call may still turn up, but
/// never twice for one call. Thread-safe. A catalogue or object store that hangs holds up those who
/// need it and nobody else.
class Ingester final : public HotSource {
public:
    /// Replays the log, flushing on the way if it is larger than the memory. `progress` hears of
    /// each replayed batch (rows so far). The references must outlive the ingester.
    static Result<std::unique_ptr<Ingester>> open(
        const RequestContext& context,
        IngesterOptions options,
        FileSystem& fs,
        Catalogue& catalogue,
        ObjectStore& objects,
        Clock& clock,
        Random& random,
        MetricRegistry& metrics,
        std::shared_ptr<MemoryBudget> memory,
        const std::function<void(std::uint64_t)>& progress);
    ~Ingester() override;  ///< After close, or a failed open.
    Ingester(const Ingester&) = delete;
    Ingester& operator=(const Ingester&) = delete;

    /// Stores the `batches` (finished) of one request in the stream, which is made if missing; one
    /// sync covers them all. `raw_bytes` is what the sender sent for them. kResourceExhausted,
    /// kUnavailable, kTimeout: retry later.
    Result<IngestReceipt> ingest(const RequestContext& context,
                                 const OrgId& org,
                                 StreamType type,
                                 const std::string& stream,
                                 std::vector<RowBatch> batches,
                                 std::uint64_t raw_bytes,
                                 CommitMode mode);

    /// To be asked before rows are decoded: the refusal, if the log has refused rows a moment ago.
    /// So that whoever sends on meanwhile costs next to nothing.
    Result<> check_intake();

    HotSnapshot hot_snapshot(const StreamId& stream) override;

    /// The stream's description, made if missing; cached.
    Result<StreamInfo> ensure_stream(const RequestContext& context,
                                     const OrgId& org,
                                     StreamType type,
                                     const std::string& name);
    /// The stream's description if there is one; cached.
    Result<std::optional<StreamInfo>> find_stream(const RequestContext& context,
                                                  const OrgId& org,
                                                  StreamType type,
                                                  const std::string& name);
    /// Names of the stream's fields as far as this process has seen them. Never null.
    std::shared_ptr<const std::set<std::string, std::less<>>> known_fields(const StreamId& stream);
    /// Takes the batches' new names as fields of the stream, which is made if missing. False if it
    /// would then have more than `fields_max`: others brought fields meanwhile, decode again.
    Result<bool> admit_fields(const RequestContext& context,
                              const OrgId& org,
                              StreamType type,
                              const std::string& stream,
                              std::span<const RowBatch> batches,
                              std::size_t fields_max);
    /// Forgets what is cached of the stream's settings.
    void refresh_stream(const StreamId& stream);
    /// Drops the rows of a stream that was deleted from the catalogue. After an error the rows are
    /// hidden, and what is left of them in the log and the object store goes in the background.
    Result<> drop_stream(const RequestContext& context, const StreamId& stream);

    /// Flushes everything acknowledged before the call; returns when it is in parts.
    Result<> flush_all(const RequestContext& context);

    /// Whoever waits for a flush (kWaitFor, kForce) gets the answer now: not flushed.
    void stop_waiting() { wait_cancel_.cancel(); }

    /// To be called about once a second.
    void maintain() { wal_->maintain(); }

    /// Stops the flush threads, syncs and closes the log. A running flush is cut short at the
    /// context's deadline; rows not in parts stay in the log.
    Result<> close(const RequestContext& context);

    Wal& wal() { return *wal_; }
    /// What the start found wrong between log and catalogue, for people; does not change later.
    const std::vector<std::string>& start_findings() const { return start_findings_; }
    struct Stats {
        std::uint64_t rows = 0;
        std::uint64_t memtable_bytes = 0;
        std::uint64_t shards = 0;
        std::uint64_t failing_shards = 0;           ///< Whose last flush or removal failed.
        std::uint64_t flush_failures_in_a_row = 0;  ///< Of the shard that fails longest.
        std::string last_flush_error;               ///< Its error.
    };
    Stats stats() const;

private:
    struct Stream;
    Ingester(IngesterOptions options,
             FileSystem& fs,
             Catalogue& catalogue,
             ObjectStore& objects,
             Clock& clock,
             Random& random,
             MetricRegistry& metrics,
             std::shared_ptr<MemoryBudget> memory);

    // ingester_replay.cc
    struct Replay;
    Result<> start(const RequestContext& context,
                   const std::function<void(std::uint64_t)>& progress);
    Result<> claim_shards(const RequestContext& context, Replay& replay);
    void note_older_catalogue(const WalQueue& queue, const ShardInfo& shard);
    Result<> check_owner(const WalQueue& queue, const ShardInfo* shard) const;
    std::shared_ptr<Shard> replayed_shard(Replay& replay, QueueId queue);
    Result<> replay_batch(const RequestContext& context, Replay& replay, const WalBatch& batch);
    Result<> flush_replayed(const RequestContext& context, Shard& shard);
    Result<> make_room(const RequestContext& context, const Replay& replay);
    Result<> settle_after_replay(const RequestContext& context, const Replay& replay);
    /// Undoes flushes of this log that did not commit and never will.
    Result<> clean_up_intents(const RequestContext& context,
                              const std::function<bool(const FlushIntent&)>& is_dead);

    Result<std::shared_ptr<Stream>> stream_for(const RequestContext& context,
                                               const OrgId& org,
                                               StreamType type,
                                               const std::string& name);
    bool note_fields(const RequestContext& context,
                     Stream& stream,
                     std::span<const RowBatch> batches,
                     std::size_t fields_max);
    Result<std::shared_ptr<Shard>> open_shard(const RequestContext& context, Stream& stream);
    Result<std::shared_ptr<Shard>> make_shard(const RequestContext& context, Stream& stream);
    std::vector<std::shared_ptr<Stream>> all_streams() const;
    std::vector<std::shared_ptr<Shard>> all_shards() const;
    void forget_name(const StreamId& stream);
    Result<> wait_for_memory(const RequestContext& context, std::uint64_t bytes);
    Result<> store(const RequestContext& context,
                   Stream& stream,
                   std::vector<RowBatch> batches,
                   std::uint64_t raw_bytes,
                   IngestReceipt& receipt,
                   std::shared_ptr<Shard>& shard);

    /// Waits for `lsn` and makes the shard's rows visible. After a failure they become visible if
    /// the log makes them durable after all.
    Result<> commit(const RequestContext& context, Shard& shard, Lsn lsn);
    /// Whether a part has the rows below `position`, by the time the caller must have an answer.
    bool wait_for_flush(const RequestContext& context, Shard& shard, Position position);

    // ingester_flush.cc
    void flush_loop();
    /// Flushes the shard, and removes it if it is drained.
    void run_due(const std::shared_ptr<Shard>& shard, std::string_view reason);
    /// The shard to be flushed now and why, or null.
    std::shared_ptr<Shard> next_due(SteadyNanos& wake_at, std::string_view& reason);
    /// Why the shard is to be flushed now; empty: it is not, but may be from `wake_at` on.
    std::string_view due_reason(const Shard::State& state,
                                SteadyNanos now,
                                SteadyNanos& wake_at) const;
    void flush_one(Shard& shard, std::string_view reason);
    void flush_frozen(Shard& shard, const Memtable& frozen);
    bool discard_if_deleted(const RequestContext& context, Shard& shard);
    SteadyNanos retry_time(std::uint32_t failures);
    Result<> retire_if_drained(const RequestContext& context, const std::shared_ptr<Shard>& shard);
    /// Lets go of a deleted stream that has no shards any more.
    void forget_drained(const std::shared_ptr<Stream>& stream);
    void wake_flusher();
    void note_refusal(const Error& error);
    void forget_refusal() { refused_until_ = 0; }

    const IngesterOptions options_;
    FileSystem& fs_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Random& random_;
    MetricRegistry& metrics_;
    std::shared_ptr<MemoryBudget> memory_;
    std::unique_ptr<Wal> wal_;
    std::unique_ptr<Flusher> flusher_;
    std::string owner_;  ///< The log's name in the catalogue.
    const CancelToken flush_cancel_;
    const CancelToken wait_cancel_;

    /// Never held over a call to a shard, the log, the catalogue or the object store.
    mutable Mutex mutex_;
    CondVar flush_wake_;
    CondVar memory_freed_;
    CondVar flushes_done_;
    std::map<std::string, std::shared_ptr<Stream>, std::less<>> streams_by_name_
        MS_GUARDED_BY(mutex_);
    std::map<StreamId, std::shared_ptr<Stream>> streams_ MS_GUARDED_BY(mutex_);
    std::uint64_t waiting_for_memory_ MS_GUARDED_BY(mutex_) = 0;
    std::atomic<std::uint64_t> wake_count_ = 0;
    std::atomic<bool> flushers_asleep_ = false;
    std::uint64_t running_flushes_ MS_GUARDED_BY(mutex_) = 0;
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    /// The log's last refusal, and until when it stands (SteadyNanos).
    std::optional<Error> refusal_ MS_GUARDED_BY(mutex_);
    std::atomic<std::int64_t> refused_until_ = 0;
    Counter& refused_undecoded_;
    std::vector<std::thread> threads_;
    bool closed_ = false;
    std::vector<std::string> start_findings_;
};

}  // namespace molesignal
