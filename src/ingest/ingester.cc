#include "ingest/ingester.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "ingest/batch_codec.h"
#include "ingest/flusher.h"
#include "ingest/ingester_state.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(ingest_before_append);
MS_DEFINE_FAILPOINT(ingest_before_commit);
MS_DEFINE_FAILPOINT(ingest_after_commit);
MS_DEFINE_FAILPOINT(ingest_after_apply);
MS_DEFINE_FAILPOINT(ingest_shard_created);
MS_DEFINE_FAILPOINT(ingest_stream_dropped);

/// For how long a refusal of the log stands for the rows that come after it.
constexpr std::chrono::milliseconds kRefusalStands{200};

std::string name_key(const OrgId& org, StreamType type, std::string_view name) {
    return fmt::format("{}/{}/{}", org.value, stream_type_name(type), name);
}

}  // namespace

Ingester::Ingester(IngesterOptions options,
                   FileSystem& fs,
                   Catalogue& catalogue,
                   ObjectStore& objects,
                   Clock& clock,
                   Random& random,
                   MetricRegistry& metrics,
                   std::shared_ptr<MemoryBudget> memory)
    : options_(std::move(options)),
      fs_(fs),
      catalogue_(catalogue),
      objects_(objects),
      clock_(clock),
      random_(random),
      metrics_(metrics),
      memory_(memory->make_child("memtables",
                                 "ingester.max_buffer_memory_mb",
                                 static_cast<std::int64_t>(options_.memory_bytes_max))),
      flusher_(std::make_unique<Flusher>(FlusherOptions{.rows_per_group = options_.rows_per_group,
                                                        .zstd_level = options_.zstd_level,
                                                        .writes_index = options_.writes_index},
                                         catalogue,
                                         objects,
                                         clock,
                                         random,
                                         metrics,
                                         memory)),
      refused_undecoded_(metrics.counter(
          "ingester_refused_undecoded_total",
          "Requests refused before their rows were decoded: the log had no room a moment ago")) {}

Ingester::~Ingester() {
    MS_ASSERT(closed_ || wal_ == nullptr);
}

Result<std::unique_ptr<Ingester>> Ingester::open(
    const RequestContext& context,
    IngesterOptions options,
    FileSystem& fs,
    Catalogue& catalogue,
    ObjectStore& objects,
    Clock& clock,
    Random& random,
    MetricRegistry& metrics,
    std::shared_ptr<MemoryBudget> memory,
    const std::function<void(std::uint64_t)>& progress) {
    std::unique_ptr<Ingester> ingester(new Ingester(
        std::move(options), fs, catalogue, objects, clock, random, metrics, std::move(memory)));
    if (auto started = ingester->start(context, progress); !started) {
        ingester->wal_.reset();
        return std::move(started).error();
    }
    for (std::size_t i = 0; i < ingester->options_.flush_threads; ++i) {
        ingester->threads_.emplace_back([raw = ingester.get()] { raw->flush_loop(); });
    }
    return ingester;
}

Result<IngestReceipt> Ingester::ingest(const RequestContext& context,
                                       const OrgId& org,
                                       StreamType type,
                                       const std::string& name,
                                       std::vector<RowBatch> batches,
                                       std::uint64_t raw_bytes,
                                       CommitMode mode) {
    if (batches.empty()) {
        return IngestReceipt{};
    }
    MS_TRY(const auto stream, stream_for(context, org, type, name));
    std::uint64_t bytes = 0;
    for (const auto& batch : batches) {
        bytes += batch.capacity_bytes();
    }
    MS_TRY_VOID(wait_for_memory(context, bytes));
    (void)note_fields(context, *stream, batches, SIZE_MAX);
    IngestReceipt receipt;
    std::shared_ptr<Shard> shard;
    MS_TRY_VOID(store(context, *stream, std::move(batches), raw_bytes, receipt, shard));
    if (mode != CommitMode::kAuto) {
        const auto wait =
            mode == CommitMode::kForce ? std::chrono::seconds(0) : options_.wait_for_flush;
        shard->request_flush(receipt.end, clock_.steady_now() + wait);
    }
    if (mode != CommitMode::kAuto || shard->state().active_bytes >= options_.memtable_bytes) {
        wake_flusher();
    }
    receipt.flushed = mode != CommitMode::kAuto && wait_for_flush(context, *shard, receipt.end);
    return receipt;
}

bool Ingester::wait_for_flush(const RequestContext& context, Shard& shard, Position position) {
    constexpr std::chrono::seconds kLongest{30};
    const auto now = clock_.steady_now();
    auto give_up = now + kLongest;
    if (context.deadline != SteadyNanos::never()) {
        // Half of what is left: the answer must come before the caller gives up, or it sends again.
        give_up = std::min(
            give_up, now + std::chrono::nanoseconds((context.deadline.value - now.value) / 2));
    }
    auto limited = context;
    while (!context.cancel.cancelled() && !wait_cancel_.cancelled() &&
           clock_.steady_now() < give_up) {
        limited.deadline = std::min(give_up, clock_.steady_now() + std::chrono::milliseconds(200));
        if (shard.wait_for_checkpoint(limited, clock_, position)) {
            return true;
        }
    }
    return shard.checkpoint() >= position;
}

Result<> Ingester::store(const RequestContext& context,
                         Stream& stream,
                         std::vector<RowBatch> batches,
                         std::uint64_t raw_bytes,
                         IngestReceipt& receipt,
                         std::shared_ptr<Shard>& shard) {
    std::uint64_t rows = 0;
    for (const auto& batch : batches) {
        rows += batch.rows();
    }
    // Without the caller's deadline: once in the log, the rows follow their course.
    const auto unlimited = RequestContext::background(clock_, context.request_id);
    Lsn last;
    const auto append = [&](const std::shared_ptr<const RowBatch>& batch) -> Result<> {
        const EncodedBatch encoded = encode_batch(*batch);
        while (true) {
            MS_TRY(const auto open, open_shard(context, stream));
            if (shard != nullptr && shard != open) {
                // The rest goes to another shard: what this one has is settled first.
                MS_TRY_VOID(commit(unlimited, *shard, last));
            }
            shard = open;
            MS_PASS_FAILPOINT(ingest_before_append);
            const auto done = shard->append(*wal_,
                                            batch,
                                            encoded.pieces(),
                                            raw_bytes * batch->rows() / rows,
                                            clock_.steady_now());
            if (!done) {
                note_refusal(done.error());
                return done.error();
            }
            const auto& appended = *done;
            if (!appended.has_value()) {
                continue;  // Closed in between: the next shard takes it.
            }
            if (receipt.shard != shard->id()) {
                receipt = {.shard = shard->id(), .begin = appended->begin, .end = appended->end};
            }
            receipt.end = appended->end;
            last = appended->lsn;
            return {};
        }
    };
    for (auto& batch : batches) {
        if (auto appended = append(std::make_shared<const RowBatch>(std::move(batch))); !appended) {
            wake_flusher();  // If the log is full, a flush makes room.
            if (shard != nullptr && last.value > 0) {
                // Not acknowledged, but in the log: they are settled like all others.
                (void)commit(unlimited, *shard, last);
            }
            return appended;
        }
    }
    return commit(unlimited, *shard, last);
}

void Ingester::note_refusal(const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted && error.code() != ErrorCode::kUnavailable) {
        return;  // Of this batch, not of the log.
    }
    const MutexLock lock(mutex_);
    refusal_ = error;
    refused_until_ = (clock_.steady_now() + kRefusalStands).value;
}

Result<> Ingester::check_intake() {
    if (refused_until_.load(std::memory_order_relaxed) <= clock_.steady_now().value) {
        return {};
    }
    const MutexLock lock(mutex_);
    if (!refusal_.has_value()) {
        return {};
    }
    refused_undecoded_.add();
    return *refusal_;
}

Result<> Ingester::commit(const RequestContext& context, Shard& shard, Lsn lsn) {
    auto committed = ingest_before_commit.pass();
    if (committed) {
        committed = wal_->commit(context, lsn);
    }
    if (!committed) {
        // What is not durable is not acknowledged and not shown. It stays in order: if the log
        // mends itself the flush thread shows it, for a replay would, too.
        shard.apply_durable(wal_->durable_lsn(), clock_.steady_now());
        return std::move(committed).error();
    }
    MS_PASS_FAILPOINT(ingest_after_commit);
    shard.apply_durable(wal_->durable_lsn(), clock_.steady_now());
    MS_PASS_FAILPOINT(ingest_after_apply);
    return {};
}

Result<> Ingester::wait_for_memory(const RequestContext& context, std::uint64_t bytes) {
    const auto limit = static_cast<std::uint64_t>(memory_->limit_bytes());
    const auto fits = [&] {
        // A single batch may exceed what is left of an empty budget: it must get through all the
        // same.
        const auto used = static_cast<std::uint64_t>(memory_->used_bytes());
        return used == 0 || used + bytes <= limit;
    };
    if (fits()) {
        return {};
    }
    const auto give_up = std::min(context.deadline, clock_.steady_now() + options_.persist_timeout);
    const MutexLock lock(mutex_);
    ++waiting_for_memory_;
    Result<> result;
    while (!fits()) {
        ++wake_count_;
        flush_wake_.notify_all();
        if (clock_.steady_now() >= give_up || stopping_) {
            metrics_
                .counter("ingester_memory_rejections_total",
                         "Requests refused because the memtables are full",
                         {{"stream_type", "logs"}})
                .add();
            result = Error(ErrorCode::kResourceExhausted,
                           fmt::format("{} bytes of rows wait to be flushed, the limit is {} "
                                       "(ingester.max_buffer_memory_mb); retry later",
                                       memory_->used_bytes(),
                                       limit));
            break;
        }
        if (auto alive = context.check(); !alive) {
            result = std::move(alive);
            break;
        }
        clock_.wait_until(mutex_,
                          memory_freed_,
                          std::min(give_up, clock_.steady_now() + std::chrono::milliseconds(100)));
    }
    --waiting_for_memory_;
    return result;
}

Result<std::shared_ptr<Ingester::Stream>> Ingester::stream_for(const RequestContext& context,
                                                               const OrgId& org,
                                                               StreamType type,
                                                               const std::string& name) {
    const auto key = name_key(org, type, name);
    {
        const MutexLock lock(mutex_);
        if (const auto found = streams_by_name_.find(key); found != streams_by_name_.end()) {
            return found->second;
        }
    }
    MS_TRY_VOID(check_stream_name(name));
    MS_TRY(auto info, catalogue_.ensure_stream(context, org, type, name, options_.streams_max));
    const MutexLock lock(mutex_);
    auto& stream = streams_[info.id];
    if (stream == nullptr) {
        stream = std::make_shared<Stream>(info);
    } else {
        const MutexLock stream_lock(stream->mutex);
        stream->info = info;
    }
    streams_by_name_[key] = stream;
    return stream;
}

Result<StreamInfo> Ingester::ensure_stream(const RequestContext& context,
                                           const OrgId& org,
                                           StreamType type,
                                           const std::string& name) {
    MS_TRY(const auto stream, stream_for(context, org, type, name));
    const MutexLock lock(stream->mutex);
    return stream->info;
}

Result<std::optional<StreamInfo>> Ingester::find_stream(const RequestContext& context,
                                                        const OrgId& org,
                                                        StreamType type,
                                                        const std::string& name) {
    {
        const MutexLock lock(mutex_);
        if (const auto found = streams_by_name_.find(name_key(org, type, name));
            found != streams_by_name_.end()) {
            const MutexLock stream_lock(found->second->mutex);
            return std::optional(found->second->info);
        }
    }
    MS_TRY_VOID(check_stream_name(name));
    return catalogue_.find_stream(context, org, type, name);
}

std::shared_ptr<const std::set<std::string, std::less<>>> Ingester::known_fields(
    const StreamId& id) {
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(id);
        if (found == streams_.end()) {
            return std::make_shared<const std::set<std::string, std::less<>>>();
        }
        stream = found->second;
    }
    const MutexLock lock(stream->mutex);
    return stream->fields;
}

Result<bool> Ingester::admit_fields(const RequestContext& context,
                                    const OrgId& org,
                                    StreamType type,
                                    const std::string& name,
                                    std::span<const RowBatch> batches,
                                    std::size_t fields_max) {
    MS_TRY(const auto stream, stream_for(context, org, type, name));
    return note_fields(context, *stream, batches, fields_max);
}

bool Ingester::note_fields(const RequestContext& context,
                           Stream& stream,
                           std::span<const RowBatch> batches,
                           std::size_t fields_max) {
    std::set<std::string, std::less<>> missing;
    bool load = false;
    {
        const MutexLock lock(stream.mutex);
        load = !stream.fields_loaded;
        for (const auto& batch : batches) {
            for (const auto& column : batch.columns) {
                if (column.name() != kExtraField && !stream.fields->contains(column.name())) {
                    missing.insert(column.name());
                }
            }
        }
    }
    if (missing.empty() && !load) {
        return true;
    }
    std::vector<std::string> stored;
    bool loaded = false;
    if (load) {
        // With the catalogue down the limit counts this process's names only; rows go on.
        if (const auto schema = catalogue_.ensure_fields(context, stream.id, {})) {
            for (const auto& variant : schema->variants) {
                stored.push_back(variant.name);
            }
            loaded = true;
        }
    }
    const MutexLock lock(stream.mutex);
    auto known = *stream.fields;
    known.insert(stored.begin(), stored.end());
    stream.fields_loaded = stream.fields_loaded || loaded;
    auto wanted = known;
    wanted.insert(missing.begin(), missing.end());
    const bool fits = wanted.size() == known.size() || wanted.size() <= fields_max;
    stream.fields = std::make_shared<const std::set<std::string, std::less<>>>(
        std::move(fits ? wanted : known));
    return fits;
}

void Ingester::refresh_stream(const StreamId& id) {
    // The stream object stays, for it holds the shards; stream_for updates it from the catalogue.
    forget_name(id);
}

void Ingester::forget_name(const StreamId& id) {
    const MutexLock lock(mutex_);
    std::erase_if(streams_by_name_, [&id](const auto& entry) { return entry.second->id == id; });
}

std::vector<std::shared_ptr<Ingester::Stream>> Ingester::all_streams() const {
    const MutexLock lock(mutex_);
    std::vector<std::shared_ptr<Stream>> streams;
    streams.reserve(streams_.size());
    for (const auto& [id, stream] : streams_) {
        streams.push_back(stream);
    }
    return streams;
}

std::vector<std::shared_ptr<Shard>> Ingester::all_shards() const {
    std::vector<std::shared_ptr<Shard>> shards;
    for (const auto& stream : all_streams()) {
        const MutexLock lock(stream->mutex);
        shards.insert(shards.end(), stream->shards.begin(), stream->shards.end());
    }
    return shards;
}

Result<std::shared_ptr<Shard>> Ingester::open_shard(const RequestContext& context, Stream& stream) {
    {
        const MutexLock lock(stream.mutex);
        while (true) {
            if (stream.dropped) {
                return Error(ErrorCode::kUnavailable, "the stream was deleted a moment ago; retry");
            }
            if (stream.open != nullptr && stream.open->is_open()) {
                return stream.open;
            }
            if (!stream.creating) {
                break;
            }
            MS_TRY_VOID(context.check());
            clock_.wait_until(
                stream.mutex,
                stream.changed,
                std::min(context.deadline, clock_.steady_now() + std::chrono::milliseconds(200)));
        }
        stream.creating = true;  // One stream gets one shard.
    }
    auto made = make_shard(context, stream);
    const MutexLock lock(stream.mutex);
    stream.creating = false;
    stream.changed.notify_all();
    MS_TRY(auto shard, std::move(made));
    stream.shards.push_back(shard);
    if (stream.dropped) {
        shard->discard();  // The flush thread removes it.
        return Error(ErrorCode::kUnavailable, "the stream was deleted a moment ago; retry");
    }
    stream.open = shard;
    return shard;
}

/// In the catalogue, then in the log. What the catalogue has made is kept for the next try if the
/// log cannot take it.
Result<std::shared_ptr<Shard>> Ingester::make_shard(const RequestContext& context, Stream& stream) {
    if (auto writable = wal_->check_writable(); !writable) {
        note_refusal(writable.error());
        return std::move(writable).error();
    }
    std::optional<ShardInfo> info;
    StreamInfo description;
    {
        const MutexLock lock(stream.mutex);
        info = stream.unused;
        description = stream.info;
    }
    if (!info.has_value()) {
        auto made = catalogue_.create_shard(context, stream.id, owner_);
        if (!made && made.error().code() == ErrorCode::kNotFound) {
            forget_name(stream.id);  // Or every later request would meet the dead stream.
            return Error(ErrorCode::kUnavailable, "the stream was deleted a moment ago; retry");
        }
        MS_TRY(info, std::move(made));
        const MutexLock lock(stream.mutex);
        stream.unused = info;
    }
    MS_PASS_FAILPOINT(ingest_shard_created);
    MS_TRY_VOID(wal_->create_queue(context, QueueId{info->id.value}, describe_queue(description)));
    {
        const MutexLock lock(stream.mutex);
        stream.unused.reset();
    }
    return std::make_shared<Shard>(
        *info, description, Position{0}, Shard::Intake::kOpen, memory_, clock_.steady_now());
}

HotSnapshot Ingester::hot_snapshot(const StreamId& id) {
    HotSnapshot snapshot;
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(id);
        if (found == streams_.end()) {
            return snapshot;
        }
        stream = found->second;
    }
    const MutexLock lock(stream->mutex);
    for (const auto& shard : stream->shards) {
        shard->add_to_snapshot(snapshot);
    }
    return snapshot;
}

Result<> Ingester::drop_stream(const RequestContext& context, const StreamId& id) {
    forget_name(id);
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(id);
        if (found == streams_.end()) {
            return {};
        }
        stream = found->second;
    }
    // From here on its rows are gone for everybody. Should the rest fail, the flush thread goes on.
    std::vector<std::shared_ptr<Shard>> shards;
    {
        const MutexLock lock(stream->mutex);
        stream->dropped = true;
        stream->open = nullptr;
        shards = stream->shards;
        for (const auto& shard : shards) {
            shard->discard();
        }
    }
    MS_PASS_FAILPOINT(ingest_stream_dropped);
    wake_flusher();
    for (const auto& shard : shards) {
        while (shard->state().flushing) {
            // It fails or succeeds soon, and the flush thread says so.
            MS_TRY_VOID(context.check());
            const MutexLock lock(stream->mutex);
            clock_.wait_until(stream->mutex,
                              stream->changed,
                              clock_.steady_now() + std::chrono::milliseconds(20));
        }
        MS_TRY_VOID(retire_if_drained(context, shard));
    }
    forget_drained(stream);
    return {};
}

Result<> Ingester::flush_all(const RequestContext& context) {
    std::vector<std::pair<std::shared_ptr<Shard>, Position>> waiting;
    for (const auto& shard : all_shards()) {
        if (const auto end = shard->visible_end(); end.has_value()) {
            waiting.emplace_back(shard, *end);
        }
    }
    for (const auto& [shard, end] : waiting) {
        shard->request_flush(end, SteadyNanos{});
    }
    wake_flusher();
    for (const auto& [shard, end] : waiting) {
        MS_TRY_VOID(shard->wait_for_checkpoint(context, clock_, end));
    }
    return {};
}

Result<> Ingester::close(const RequestContext& context) {
    {
        const MutexLock lock(mutex_);
        if (closed_) {
            return {};
        }
        stopping_ = true;
        flush_wake_.notify_all();
        memory_freed_.notify_all();
        // A flush that is nearly done is worth the wait; one that hangs is not.
        while (running_flushes_ > 0 && context.check()) {
            clock_.wait_until(
                mutex_,
                flushes_done_,
                std::min(context.deadline, clock_.steady_now() + std::chrono::milliseconds(200)));
        }
    }
    flush_cancel_.cancel();
    for (auto& thread : threads_) {
        thread.join();
    }
    threads_.clear();
    closed_ = true;
    return wal_->close(context);
}

Ingester::Stats Ingester::stats() const {
    Stats stats;
    for (const auto& shard : all_shards()) {
        const auto state = shard->state();
        stats.rows += state.rows;
        stats.memtable_bytes += state.active_bytes + state.frozen_bytes;
        ++stats.shards;
        if (state.failures > 0) {
            ++stats.failing_shards;
        }
        if (state.failures > stats.flush_failures_in_a_row) {
            stats.flush_failures_in_a_row = state.failures;
            stats.last_flush_error = state.last_error;
        }
    }
    return stats;
}

}  // namespace molesignal
