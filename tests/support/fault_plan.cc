#include "tests/support/fault_plan.h"

#include "common/assert.h"

namespace molesignal {

std::uint64_t for_each_failure(const std::function<bool(const FaultPlan&)>& operation,
                               std::uint64_t runs_max) {
    std::uint64_t hits = 0;
    for (const auto times : {FaultTimes::kOnce, FaultTimes::kForEver}) {
        for (std::uint64_t nth = 1; operation({.nth = nth, .times = times}); ++nth) {
            ++hits;
            MS_ASSERT(hits < runs_max);
        }
    }
    return hits;
}

}  // namespace molesignal
