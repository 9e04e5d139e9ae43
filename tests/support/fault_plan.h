#pragma once

#include <cstdint>
#include <functional>

namespace molesignal {

/// Whether a fault goes away.
enum class FaultTimes : std::uint8_t { kOnce = 1, kForEver = 2 };

/// Which operation fails: the `nth` that matches (1 is the first), or all from there on.
struct FaultPlan {
    std::uint64_t nth = 1;
    FaultTimes times = FaultTimes::kOnce;

    /// Whether the match number `match` (from 1) fails.
    bool fails(std::uint64_t match) const {
        return times == FaultTimes::kOnce ? match == nth : match >= nth;
    }
};

/// Calls `operation` with N = 1, 2, … failing once, then with N = 1, 2, … failing for ever, each
/// until a call was not hit by its fault any more. `operation` sets up from scratch, runs under the
/// plan, checks the invariants and returns whether a fault fired. Returns how many calls were hit.
/// Aborts above `runs_max` calls: the operation does not end, or its return value is wrong.
std::uint64_t for_each_failure(const std::function<bool(const FaultPlan&)>& operation,
                               std::uint64_t runs_max = 100'000);

}  // namespace molesignal
