#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

#include "common/clock.h"

namespace molesignal {

/// A clock that stands still until the test moves it.
///
/// `advance` wakes every waiter of `wait_until`, which then looks at its deadline again.
/// Thread-safe.
class ManualClock final : public Clock {
public:
    /// 2023-11-14 22:13:20 UTC.
    static constexpr UnixNanos kStart{1'700'000'000'000'000'000};

    explicit ManualClock(UnixNanos start = kStart) : wall_(start) {}

    UnixNanos now() const override;
    SteadyNanos steady_now() const override;
    void wait_until(Mutex& mutex, CondVar& condition, SteadyNanos deadline)
        MS_REQUIRES(mutex) override;

    /// Moves both clocks and wakes the waiters. Not to be called with a mutex held that a waiter
    /// waits with.
    void advance(std::chrono::nanoseconds by);

    /// Sets the wall clock alone, back too, as an operator or NTP may.
    void set_wall(UnixNanos to);

    /// Returns once at least `count` threads are inside `wait_until` with a deadline still to come,
    /// so that a test needs no sleep between starting a thread and `advance`.
    void await_waiters(std::size_t count);

private:
    struct Waiter {
        Mutex* mutex = nullptr;
        CondVar* condition = nullptr;
        SteadyNanos deadline;
        int notifiers = 0;  ///< Calls of `advance` that still hold pointers to it.
    };

    mutable Mutex mutex_;
    CondVar changed_;
    UnixNanos wall_ MS_GUARDED_BY(mutex_);
    SteadyNanos steady_ MS_GUARDED_BY(mutex_){1'000'000'000};
    std::vector<Waiter*> waiters_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
