#pragma once

#include <chrono>
#include <cstdint>

#include "common/clock.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

struct WorkPaceOptions {
    double cpu_share = 1;                ///< Of one core; 1: as much as there is.
    std::uint64_t bytes_per_second = 0;  ///< Read and written; 0: no limit.
};

/// Slows long work down to a share of a core and a rate of bytes, by pauses between its steps. For
/// one thread, the one that does the work.
class WorkPace {
public:
    WorkPace(const WorkPaceOptions& options, Clock& clock);

    /// Pauses for what was done since the last call, in which the work read and wrote `bytes`.
    /// Fails as soon as `context` ends.
    Result<> pause(const RequestContext& context, std::uint64_t bytes);

    double cpu_seconds() const { return cpu_seconds_; }  ///< Of the work so far.

private:
    WorkPaceOptions options_;
    Clock& clock_;
    SteadyNanos last_;
    double last_cpu_seconds_;
    double cpu_seconds_ = 0;
};

}  // namespace molesignal
