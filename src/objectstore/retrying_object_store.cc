#include "objectstore/retrying_object_store.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/log.h"

namespace molesignal {
namespace {

/// How often a wait looks whether the request was cancelled.
constexpr std::chrono::milliseconds kCancelPoll{50};

bool is_worth_retry(const Error& error) {
    return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kTimeout;
}

}  // namespace

RetryingObjectStore::RetryingObjectStore(std::unique_ptr<ObjectStore> base,
                                         const RetryOptions& options,
                                         Clock& clock,
                                         Random& random)
    : base_(std::move(base)),
      options_(options),
      clock_(clock),
      random_(random),
      budget_(options.budget_retries_max) {}

void RetryingObjectStore::earn_retry() {
    const MutexLock lock(mutex_);
    budget_ = std::min(budget_ + options_.budget_ratio, options_.budget_retries_max);
}

bool RetryingObjectStore::spend_retry() {
    const MutexLock lock(mutex_);
    if (budget_ < 1) {
        return false;
    }
    budget_ -= 1;
    return true;
}

std::chrono::nanoseconds RetryingObjectStore::backoff(int attempt) {
    auto wait = options_.base_backoff;
    for (int i = 1; i < attempt && wait < options_.max_backoff; ++i) {
        wait *= 2;
    }
    wait = std::min(wait, options_.max_backoff);
    constexpr std::uint64_t kSteps = 1024;
    const auto share = static_cast<double>(random_.next_u64() % kSteps) / kSteps;
    return wait + std::chrono::nanoseconds(static_cast<std::int64_t>(
                      static_cast<double>(wait.count()) * options_.jitter_ratio * share));
}

Result<> RetryingObjectStore::wait(const RequestContext& context,
                                   std::chrono::nanoseconds how_long) {
    Mutex mutex;
    CondVar never;
    const auto until = clock_.steady_now() + how_long;
    const MutexLock lock(mutex);
    for (auto now = clock_.steady_now(); now < until; now = clock_.steady_now()) {
        MS_TRY_VOID(context.check());
        clock_.wait_until(mutex, never, std::min(until, now + kCancelPoll));
    }
    return context.check();
}

template <class Outcome, class Call>
Outcome RetryingObjectStore::run(const RequestContext& context,
                                 std::string_view what,
                                 std::chrono::nanoseconds time_max,
                                 const Call& call) {
    auto limited = context;
    limited.clock = &clock_;
    limited.deadline = std::min(context.deadline, clock_.steady_now() + time_max);
    earn_retry();
    for (int attempt = 1;; ++attempt) {
        Outcome outcome = call(limited);
        if (outcome.has_value() || !is_worth_retry(outcome.error())) {
            return outcome;
        }
        MS_TRY_VOID(context.check());
        if (!limited.check()) {
            return Error(ErrorCode::kTimeout,
                         fmt::format("{}: no success within {} ms (store.object.op_timeout_secs), "
                                     "attempt {}: {}",
                                     what,
                                     time_max / std::chrono::milliseconds(1),
                                     attempt,
                                     outcome.error().message()));
        }
        if (attempt >= options_.max_attempts) {
            return std::move(outcome).error().wrap(
                fmt::format("{}: {} attempts (store.object.retry.max_attempts) failed",
                            what,
                            options_.max_attempts));
        }
        if (!spend_retry()) {
            return std::move(outcome).error().wrap(
                fmt::format("{}: not tried again, too many operations fail", what));
        }
        const auto how_long = backoff(attempt);
        log_info("object store operation failed, trying again",
                 {{"operation", what},
                  {"attempt", attempt},
                  {"wait_ms", how_long / std::chrono::milliseconds(1)},
                  {"error", outcome.error().message()}});
        if (clock_.steady_now() + how_long >= limited.deadline) {
            return std::move(outcome).error().wrap(
                fmt::format("{}: no time for another attempt", what));
        }
        MS_TRY_VOID(wait(context, how_long));
    }
}

std::chrono::nanoseconds RetryingObjectStore::time_for(std::uint64_t bytes) const {
    return options_.op_timeout +
           std::chrono::seconds(bytes /
                                std::max<std::uint64_t>(1, options_.put_bytes_per_second_min));
}

Result<> RetryingObjectStore::put(const RequestContext& context, std::string_view key, Bytes body) {
    return run<Result<>>(context, "put", time_for(body.size()), [&](const RequestContext& limited) {
        return base_->put(limited, key, body);
    });
}

Result<> RetryingObjectStore::put_file(const RequestContext& context,
                                       std::string_view key,
                                       const std::string& path) {
    // Its size is known to the base only, which limits each request.
    constexpr std::chrono::hours kLongest{1};
    return run<Result<>>(context, "put_file", kLongest, [&](const RequestContext& limited) {
        return base_->put_file(limited, key, path);
    });
}

Result<ByteBuffer> RetryingObjectStore::get(const RequestContext& context,
                                            std::string_view key,
                                            std::uint64_t offset,
                                            std::uint64_t length) {
    return run<Result<ByteBuffer>>(
        context, "get", options_.op_timeout, [&](const RequestContext& limited) {
            return base_->get(limited, key, offset, length);
        });
}

Result<std::optional<ObjectMeta>> RetryingObjectStore::head(const RequestContext& context,
                                                            std::string_view key) {
    return run<Result<std::optional<ObjectMeta>>>(
        context, "head", options_.op_timeout, [&](const RequestContext& limited) {
            return base_->head(limited, key);
        });
}

Result<> RetryingObjectStore::list(const RequestContext& context,
                                   std::string_view prefix,
                                   const std::function<bool(const ObjectMeta&)>& visit) {
    // A second attempt goes on behind what `visit` has seen.
    std::string last;
    return run<Result<>>(context, "list", options_.op_timeout, [&](const RequestContext& limited) {
        return base_->list(limited, prefix, [&](const ObjectMeta& object) {
            if (!last.empty() && object.key <= last) {
                return true;
            }
            last = object.key;
            return visit(object);
        });
    });
}

Result<> RetryingObjectStore::remove(const RequestContext& context, std::string_view key) {
    return run<Result<>>(
        context, "remove", options_.op_timeout, [&](const RequestContext& limited) {
            return base_->remove(limited, key);
        });
}

}  // namespace molesignal
