#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "common/clock.h"

namespace molesignal {

/// Tells a transfer that is too slow: in every `window` of waiting for the other side a least
/// number of bytes must move. A fast start earns nothing, so that a sender cannot live on it. One
/// thread at a time.
class TransferPace {
public:
    /// `bytes_per_second_min` 0: one byte a window is enough.
    TransferPace(std::chrono::milliseconds window, std::int64_t bytes_per_second_min)
        : window_(window),
          bytes_min_(std::max<std::int64_t>(1, bytes_per_second_min * window.count() / 1000)),
          left_(window) {}

    /// When a wait that begins `now` has lasted too long.
    SteadyNanos deadline(SteadyNanos now) const { return now + left_; }

    /// A wait has ended after `waited`, with `bytes` moved.
    void moved(std::chrono::nanoseconds waited, std::size_t bytes) {
        left_ -= waited;
        bytes_ += static_cast<std::int64_t>(bytes);
        if (bytes_ >= bytes_min_) {
            bytes_ = 0;
            left_ = window_;
        }
    }

private:
    std::chrono::nanoseconds window_;
    std::int64_t bytes_min_;
    std::chrono::nanoseconds left_;
    std::int64_t bytes_ = 0;
};

}  // namespace molesignal
