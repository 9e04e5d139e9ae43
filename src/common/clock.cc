#include "common/clock.h"

namespace molesignal {

UnixNanos SystemClock::now() const {
    return UnixNanos{std::chrono::duration_cast<std::chrono::nanoseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count()};
}

SteadyNanos SystemClock::steady_now() const {
    return SteadyNanos{std::chrono::duration_cast<std::chrono::nanoseconds>(
                           std::chrono::steady_clock::now().time_since_epoch())
                           .count()};
}

void SystemClock::wait_until(Mutex& mutex, CondVar& condition, SteadyNanos deadline) {
    if (deadline == SteadyNanos::never()) {
        condition.wait(mutex);
        return;
    }
    std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
    condition.native().wait_until(
        lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline.value)));
    lock.release();
}

}  // namespace molesignal
