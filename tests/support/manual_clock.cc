#include "tests/support/manual_clock.h"

#include <algorithm>

namespace molesignal {

UnixNanos ManualClock::now() const {
    const MutexLock lock(mutex_);
    return wall_;
}

SteadyNanos ManualClock::steady_now() const {
    const MutexLock lock(mutex_);
    return steady_;
}

// The caller's mutex is given up and taken again in ways that the analysis cannot follow.
void ManualClock::wait_until(Mutex& mutex,
                             CondVar& condition,
                             SteadyNanos deadline) MS_NO_THREAD_SAFETY_ANALYSIS {
    Waiter waiter{.mutex = &mutex, .condition = &condition, .deadline = deadline};
    {
        const MutexLock lock(mutex_);
        if (steady_ >= deadline) {
            return;
        }
        waiters_.push_back(&waiter);
        changed_.notify_all();
    }
    // An `advance` from here on blocks on `mutex` until the wait has begun, so its call is heard.
    condition.wait(mutex);

    mutex_.lock();
    std::erase(waiters_, &waiter);
    if (waiter.notifiers > 0) {
        // `advance` may still want `mutex`; `waiter` must outlive that.
        mutex.unlock();
        while (waiter.notifiers > 0) {
            changed_.wait(mutex_);
        }
        mutex_.unlock();
        mutex.lock();
        return;
    }
    mutex_.unlock();
}

void ManualClock::advance(std::chrono::nanoseconds by) {
    std::vector<Waiter*> waiters;
    {
        const MutexLock lock(mutex_);
        wall_.value += by.count();
        steady_ = steady_ + by;
        waiters = waiters_;
        for (auto* waiter : waiters) {
            ++waiter->notifiers;
        }
    }
    for (auto* waiter : waiters) {
        {
            const MutexLock lock(*waiter->mutex);
        }
        waiter->condition->notify_all();
        const MutexLock lock(mutex_);
        --waiter->notifiers;
        changed_.notify_all();
    }
}

void ManualClock::set_wall(UnixNanos to) {
    const MutexLock lock(mutex_);
    wall_ = to;
}

void ManualClock::await_waiters(std::size_t count) {
    const MutexLock lock(mutex_);
    const auto waiting = [this]() MS_REQUIRES(mutex_) {
        // Whoever is past its deadline has only not got around to leave.
        return static_cast<std::size_t>(std::ranges::count_if(
            waiters_, [now = steady_](const auto* waiter) { return waiter->deadline > now; }));
    };
    while (waiting() < count) {
        changed_.wait(mutex_);
    }
}

}  // namespace molesignal
