// The background half of the ingester: which shard is flushed when, and what happens after.
#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "ingest/flusher.h"
#include "ingest/ingester.h"
#include "ingest/ingester_state.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(flush_before_truncate);
MS_DEFINE_FAILPOINT(flush_before_release);
MS_DEFINE_FAILPOINT(shard_before_retire);
MS_DEFINE_FAILPOINT(shard_after_queue_deleted);
MS_DEFINE_FAILPOINT(shard_retired);

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// Adaptive flush interval: little waits long, a quarter of a memtable waits the least.
nanoseconds adaptive_interval(std::uint64_t bytes, std::uint64_t target_bytes) {
    constexpr nanoseconds kLongest = seconds(300);
    constexpr nanoseconds kShortest = seconds(30);
    const auto share =
        std::min(1.0, 4.0 * static_cast<double>(bytes) / static_cast<double>(target_bytes));
    return kLongest - nanoseconds(static_cast<std::int64_t>(
                          share * static_cast<double>((kLongest - kShortest).count())));
}

}  // namespace

/// Cheap while the flush threads are awake: under pressure every request calls it.
void Ingester::wake_flusher() {
    ++wake_count_;
    if (flushers_asleep_.exchange(false)) {
        const MutexLock lock(mutex_);
        flush_wake_.notify_all();
    }
}

void Ingester::flush_loop() {
    while (true) {
        const auto seen = wake_count_.load();
        SteadyNanos wake_at = clock_.steady_now() + seconds(1);
        std::string_view reason;
        if (const auto shard = next_due(wake_at, reason); shard != nullptr) {
            run_due(shard, reason);
        } else {
            const MutexLock lock(mutex_);
            flushers_asleep_ = true;
            if (!stopping_ && wake_count_ == seen) {
                clock_.wait_until(mutex_, flush_wake_, wake_at);
            }
        }
        const MutexLock lock(mutex_);
        if (stopping_) {
            return;
        }
    }
}

void Ingester::run_due(const std::shared_ptr<Shard>& shard, std::string_view reason) {
    {
        const MutexLock lock(mutex_);
        ++running_flushes_;
    }
    flush_one(*shard, reason);
    forget_refusal();  // It may have made room.
    auto context = RequestContext::background(clock_, "flush");
    context.cancel = flush_cancel_;
    context.deadline = clock_.steady_now() + seconds(60);
    if (auto retired = retire_if_drained(context, shard);
        !retired && retired.error().code() != ErrorCode::kCancelled) {
        log_warn("a drained shard could not be removed; will be tried again",
                 {{"shard", shard->id().value}, {"error", retired.error().message()}});
        shard->retire_failed(retired.error(), retry_time(shard->state().failures + 1));
    }
    const MutexLock lock(mutex_);
    --running_flushes_;
    flushes_done_.notify_all();
    memory_freed_.notify_all();
}

/// When to try again after so many failures in a row: 0.4 s doubling to 25.6 s, and a little
/// chance.
SteadyNanos Ingester::retry_time(std::uint32_t failures) {
    const auto backoff = milliseconds(200) * (1U << std::min(failures, 7U));
    const auto jitter = milliseconds(random_.next_u64() % 200);
    return clock_.steady_now() + backoff + jitter;
}

std::string_view Ingester::due_reason(const Shard::State& state,
                                      SteadyNanos now,
                                      SteadyNanos& wake_at) const {
    if (state.flushing) {
        return "";
    }
    if (state.retry_at > now) {
        wake_at = std::min(wake_at, state.retry_at);
        return "";
    }
    if (state.rows == 0) {
        // An idle or closed shard without rows is retired by the same path.
        return !state.open && state.pending_batches == 0 ? "closed" : "";
    }
    if (!state.open) {
        return "closed";
    }
    if (state.flush_at <= now) {
        return "requested";
    }
    if (state.active_bytes >= options_.memtable_bytes) {
        return "size";
    }
    const auto interval = options_.flush_interval.has_value()
                              ? nanoseconds(*options_.flush_interval)
                              : adaptive_interval(state.active_bytes, options_.memtable_bytes);
    const auto due_at = std::min(state.oldest_row + interval, state.flush_at);
    wake_at = std::min(wake_at, due_at);
    return due_at <= now ? "age" : "";
}

std::shared_ptr<Shard> Ingester::next_due(SteadyNanos& wake_at, std::string_view& reason) {
    const auto now = clock_.steady_now();
    bool starved = false;
    {
        const MutexLock lock(mutex_);
        starved = waiting_for_memory_ > 0;
    }
    const auto pinning = wal_->pinning_queue();
    const auto durable = wal_->durable_lsn();
    std::shared_ptr<Shard> due;
    std::uint64_t due_bytes = 0;
    for (const auto& shard : all_shards()) {
        auto state = shard->state();
        if (state.pending_batches > 0) {
            // Of a request whose commit failed, perhaps: the log may have made them durable since.
            shard->apply_durable(durable, now);
            state = shard->state();
        }
        if (state.open && state.rows == 0 && state.pending_batches == 0 &&
            now >= state.last_append + nanoseconds(options_.shard_idle)) {
            shard->close_intake();
            state = shard->state();  // An append that began before still counts.
        }
        const bool can_flush = state.rows > 0 && !state.flushing && state.retry_at <= now;
        if (can_flush && pinning == shard->queue()) {
            // Nothing else makes room in the log.
            reason = "log";
            return shard;
        }
        // Under memory pressure everything is due; the largest goes first.
        const auto due_for = due_reason(state, now, wake_at);
        if (due_for.empty() && !(starved && can_flush)) {
            continue;
        }
        const auto bytes = state.active_bytes + state.frozen_bytes;
        if (due == nullptr || bytes > due_bytes) {
            due = shard;
            due_bytes = bytes;
            reason = due_for.empty() ? "memory" : due_for;
        }
    }
    return due;
}

void Ingester::flush_one(Shard& shard, std::string_view reason) {
    const auto frozen = shard.begin_flush();
    if (frozen == nullptr) {
        return;
    }
    const std::string type(stream_type_name(shard.stream().type));
    if (shard.state().failures == 0) {
        metrics_
            .counter("ingester_rotations_total",
                     "Memtables frozen to be flushed, by reason",
                     {{"stream_type", type}, {"reason", std::string(reason)}})
            .add();
    }
    auto& inflight =
        metrics_.gauge("ingester_flush_inflight", "Flushes under way", {{"stream_type", type}});
    inflight.add(1);
    flush_frozen(shard, *frozen);
    inflight.add(-1);
}

void Ingester::flush_frozen(Shard& shard, const Memtable& frozen) {
    auto context = RequestContext::background(clock_, fmt::format("flush-{}", shard.id().value));
    context.deadline = clock_.steady_now() + seconds(600);
    context.cancel = flush_cancel_;
    auto flushed = flusher_->flush(context, shard, frozen);
    if (auto passed = flush_before_truncate.pass(); flushed && !passed) {
        flushed = std::move(passed).error();
    }
    if (!flushed && flush_cancel_.cancelled()) {
        log_info("a flush was cut short by the stop; its rows are in the log",
                 {{"shard", shard.id().value}, {"rows", frozen.rows()}});
        shard.end_flush_failed(flushed.error(), clock_.steady_now());
        return;
    }
    if (!flushed && flushed.error().code() == ErrorCode::kNotFound &&
        discard_if_deleted(context, shard)) {
        shard.end_flush_failed(flushed.error(), clock_.steady_now());
        return;
    }
    if (!flushed) {
        const auto failures = shard.state().failures + 1;
        log_error("a flush failed; its rows stay in memory and in the log, and it is tried again",
                  {{"stream", shard.stream().name},
                   {"shard", shard.id().value},
                   {"rows", frozen.rows()},
                   {"failures", failures},
                   {"error", flushed.error().message()}});
        // Parts and catalogue may lie on the log's disk: its reserve is for this.
        const bool has_room_now = wal_->release_reserve();
        shard.end_flush_failed(flushed.error(),
                               has_room_now ? clock_.steady_now() : retry_time(failures));
        return;
    }
    // A lost truncate costs a longer replay, nothing else.
    if (auto cut = wal_->truncate(context, shard.queue(), *flushed); !cut) {
        log_warn("the log could not be truncated after a flush",
                 {{"shard", shard.id().value}, {"error", cut.error().message()}});
    }
    (void)flush_before_release.pass();
    shard.end_flush_committed(*flushed);
}

/// Whether the shard's stream is deleted in the catalogue, though nobody came to drop it here: the
/// answer to the deletion was lost, or another process has done it. Its rows are dropped, or they
/// would pin the log until the next start.
bool Ingester::discard_if_deleted(const RequestContext& context, Shard& shard) {
    // Both must say so: a catalogue that knows neither is not ours, and a deleted shard of a live
    // stream is an error that must not cost rows.
    const auto info = catalogue_.get_shard(context, shard.id());
    if (!info || !info->has_value() || (*info)->state != ShardState::kDeleted) {
        return false;
    }
    const auto live = catalogue_.get_stream(context, shard.stream().org, shard.stream().id);
    if (!live || live->has_value()) {
        return false;
    }
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(shard.stream().id);
        if (found == streams_.end()) {
            return false;
        }
        stream = found->second;
    }
    forget_name(stream->id);
    log_warn("a stream was deleted from the catalogue; its rows that are not in parts are dropped",
             {{"stream", shard.stream().name}, {"shard", shard.id().value}});
    const MutexLock lock(stream->mutex);
    stream->dropped = true;
    stream->open = nullptr;
    for (const auto& other : stream->shards) {
        other->discard();
    }
    return true;
}

Result<> Ingester::retire_if_drained(const RequestContext& context,
                                     const std::shared_ptr<Shard>& shard) {
    const auto state = shard->state();
    if (state.open || state.rows > 0 || state.pending_batches > 0 || state.flushing) {
        return {};
    }
    MS_PASS_FAILPOINT(shard_before_retire);
    // The queue first: a shard that the catalogue calls deleted must not have rows in the log.
    if (auto deleted = wal_->delete_queue(context, shard->queue());
        !deleted && deleted.error().code() != ErrorCode::kNotFound) {
        return deleted;
    }
    MS_PASS_FAILPOINT(shard_after_queue_deleted);
    if (state.discarded) {
        // A flush may have left objects that will never be parts.
        MS_TRY_VOID(clean_up_intents(
            context, [&shard](const FlushIntent& intent) { return intent.shard == shard->id(); }));
    }
    if (auto deleted =
            catalogue_.set_shard_state(context, shard->id(), shard->epoch(), ShardState::kDeleted);
        !deleted && deleted.error().code() != ErrorCode::kNotFound) {
        return deleted;
    }
    MS_PASS_FAILPOINT(shard_retired);
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(shard->stream().id);
        if (found == streams_.end()) {
            return {};
        }
        stream = found->second;
    }
    {
        const MutexLock lock(stream->mutex);
        std::erase(stream->shards, shard);
        if (stream->open == shard) {
            stream->open = nullptr;
        }
        stream->changed.notify_all();
    }
    forget_drained(stream);
    return {};
}

void Ingester::forget_drained(const std::shared_ptr<Stream>& stream) {
    {
        const MutexLock lock(stream->mutex);
        if (!stream->dropped || !stream->shards.empty() || stream->creating) {
            return;
        }
    }
    const MutexLock lock(mutex_);
    streams_.erase(stream->id);
}

}  // namespace molesignal
