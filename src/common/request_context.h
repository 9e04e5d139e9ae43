#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/result.h"

namespace molesignal {

/// A flag that one side sets and the other polls. Thread-safe; shared by copies.
class CancelToken {
public:
    CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
    void cancel() const { flag_->store(true, std::memory_order_release); }
    bool cancelled() const { return flag_->load(std::memory_order_acquire); }

private:
    std::shared_ptr<std::atomic<bool>> flag_;
};

/// Who asks, until when, and with how much memory: the first argument of every blocking or long
/// verb. Copyable and cheap; the copies share the cancel flag. `clock` outlives it.
struct RequestContext {
    const Clock* clock = nullptr;
    SteadyNanos deadline = SteadyNanos::never();
    CancelToken cancel;
    std::string org_id;      ///< Opaque id of the organisation; empty for the system's own work.
    std::string request_id;  ///< For logs and answers.
    std::shared_ptr<MemoryBudget> memory;  ///< May be null: unlimited (tests, start-up).

    /// The system's own work, without deadline.
    static RequestContext background(const Clock& clock, std::string what) {
        RequestContext context;
        context.clock = &clock;
        context.request_id = std::move(what);
        return context;
    }

    /// kCancelled or kTimeout once the work should stop.
    Result<> check() const {
        if (cancel.cancelled()) {
            return Error(ErrorCode::kCancelled, "the request was cancelled");
        }
        if (clock != nullptr && deadline != SteadyNanos::never() &&
            clock->steady_now() >= deadline) {
            return Error(ErrorCode::kTimeout, "the request's deadline has passed");
        }
        return {};
    }
};

}  // namespace molesignal
