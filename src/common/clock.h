#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

#include "common/mutex.h"

namespace molesignal {

/// Wall-clock time: nanoseconds since 1970-01-01 UTC.
struct UnixNanos {
    std::int64_t value = 0;
    friend constexpr auto operator<=>(const UnixNanos&, const UnixNanos&) = default;
};

/// A point on a clock that only goes forward; comparable within one process only.
struct SteadyNanos {
    std::int64_t value = 0;
    friend constexpr auto operator<=>(const SteadyNanos&, const SteadyNanos&) = default;
    constexpr SteadyNanos operator+(std::chrono::nanoseconds by) const {
        return SteadyNanos{value + by.count()};
    }
    constexpr std::chrono::nanoseconds operator-(SteadyNanos earlier) const {
        return std::chrono::nanoseconds(value - earlier.value);
    }
    static constexpr SteadyNanos never() { return SteadyNanos{INT64_MAX}; }
};

/// Tells the time and waits. Implemented by SystemClock and, in tests, by ManualClock.
///
/// All waiting with a deadline goes through the clock, so that a test can let hours pass at once.
/// All methods may be called from any thread.
class Clock {
public:
    virtual ~Clock() = default;

    /// The wall-clock time. May jump.
    virtual UnixNanos now() const = 0;

    /// The steady time, for deadlines and durations.
    virtual SteadyNanos steady_now() const = 0;

    /// Waits until `condition` is notified, until `deadline` has passed, or spuriously.
    /// `mutex` is held before and after; the caller checks its predicate and the time again.
    virtual void wait_until(Mutex& mutex, CondVar& condition, SteadyNanos deadline)
        MS_REQUIRES(mutex) = 0;
};

/// The machine's clock.
class SystemClock final : public Clock {
public:
    UnixNanos now() const override;
    SteadyNanos steady_now() const override;
    void wait_until(Mutex& mutex, CondVar& condition, SteadyNanos deadline)
        MS_REQUIRES(mutex) override;
};

}  // namespace molesignal
