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

void Ingester::wake_flusher() {
    const MutexLock lock(mutex_);
    ++wake_count_;
    flush_wake_.notify_all();
}

void Ingester::flush_loop() {
    while (true) {
        std::uint64_t seen = 0;
        {
            const MutexLock lock(mutex_);
            if (stopping_) {
                return;
            }
            seen = wake_count_;
        }
        SteadyNanos wake_at = clock_.steady_now() + seconds(1);
        std::string_view reason;
        if (const auto shard = next_due(wake_at, reason); shard != nullptr) {
            flush_one(*shard, reason);
            const auto context = RequestContext::background(clock_, "flush");
            if (auto retired = retire_if_drained(context, shard); !retired) {
                log_warn("a drained shard could not be removed; will be tried again",
                         {{"shard", shard->id().value}, {"error", retired.error().message()}});
            }
            continue;
        }
        const MutexLock lock(mutex_);
        if (!stopping_ && wake_count_ == seen) {
            clock_.wait_until(mutex_, flush_wake_, wake_at);
        }
    }
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
    if (state.flush_wanted) {
        return "requested";
    }
    if (state.active_bytes >= options_.memtable_bytes) {
        return "size";
    }
    const auto interval = options_.flush_interval.has_value()
                              ? nanoseconds(*options_.flush_interval)
                              : adaptive_interval(state.active_bytes, options_.memtable_bytes);
    const auto due_at = state.oldest_row + interval;
    wake_at = std::min(wake_at, due_at);
    return due_at <= now ? "age" : "";
}

std::shared_ptr<Shard> Ingester::next_due(SteadyNanos& wake_at, std::string_view& reason) {
    const auto now = clock_.steady_now();
    std::vector<std::shared_ptr<Shard>> shards;
    bool starved = false;
    {
        const MutexLock lock(mutex_);
        starved = waiting_for_memory_ > 0;
        for (const auto& [id, stream] : streams_) {
            const MutexLock stream_lock(stream->mutex);
            shards.insert(shards.end(), stream->shards.begin(), stream->shards.end());
        }
    }
    std::shared_ptr<Shard> due;
    std::uint64_t due_bytes = 0;
    for (const auto& shard : shards) {
        const auto state = shard->state();
        if (state.open && state.rows == 0 && state.pending_batches == 0 &&
            now >= state.last_append + nanoseconds(options_.shard_idle)) {
            shard->close_intake();  // Found due, and retired, at the next look.
        }
        // Under memory pressure everything is due; the largest goes first.
        const bool pressed = starved && state.rows > 0 && !state.flushing && state.retry_at <= now;
        const auto due_for = due_reason(state, now, wake_at);
        if (due_for.empty() && !pressed) {
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
    if (shard.attempt().failures == 0) {
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
    auto flushed = flusher_->flush(context, shard, frozen);
    if (auto passed = flush_before_truncate.pass(); flushed && !passed) {
        flushed = std::move(passed).error();
    }
    if (!flushed) {
        auto& attempt = shard.attempt();
        ++attempt.failures;
        const auto backoff = milliseconds(200) * (1U << std::min(attempt.failures, 7U));
        const auto jitter = milliseconds(random_.next_u64() % 200);
        log_error("a flush failed; its rows stay in memory and in the log, and it is tried again",
                  {{"stream", shard.stream().name},
                   {"shard", shard.id().value},
                   {"rows", frozen.rows()},
                   {"failures", attempt.failures},
                   {"error", flushed.error().message()}});
        {
            const MutexLock lock(mutex_);
            ++flush_failures_;
            last_flush_error_ = flushed.error().message();
        }
        shard.end_flush_failed(clock_.steady_now() + backoff + jitter);
        return;
    }
    // A lost truncate costs a longer replay, nothing else.
    if (auto cut = wal_->truncate(context, shard.queue(), *flushed); !cut) {
        log_warn("the log could not be truncated after a flush",
                 {{"shard", shard.id().value}, {"error", cut.error().message()}});
    }
    (void)flush_before_release.pass();
    shard.end_flush_committed(*flushed);
    const MutexLock lock(mutex_);
    flush_failures_ = 0;
    last_flush_error_.clear();
    memory_freed_.notify_all();
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
    MS_TRY_VOID(
        catalogue_.set_shard_state(context, shard->id(), shard->epoch(), ShardState::kDeleted));
    std::shared_ptr<Stream> stream;
    {
        const MutexLock lock(mutex_);
        const auto found = streams_.find(shard->stream().id);
        if (found == streams_.end()) {
            return {};
        }
        stream = found->second;
    }
    const MutexLock lock(stream->mutex);
    std::erase(stream->shards, shard);
    if (stream->open == shard) {
        stream->open = nullptr;
    }
    return {};
}

}  // namespace molesignal
