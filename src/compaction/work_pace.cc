#include "compaction/work_pace.h"

#include <algorithm>

#include "common/mutex.h"
#include "io/thread_cpu.h"

namespace molesignal {
namespace {

/// How soon a pause notices that the work has to end.
constexpr std::chrono::milliseconds kLook{100};
constexpr double kShareMin = 0.01;

}  // namespace

WorkPace::WorkPace(const WorkPaceOptions& options, Clock& clock)
    : options_(options),
      clock_(clock),
      last_(clock.steady_now()),
      last_cpu_seconds_(thread_cpu_seconds()) {}

Result<> WorkPace::pause(const RequestContext& context, std::uint64_t bytes) {
    const auto cpu = thread_cpu_seconds();
    const auto spent = cpu - last_cpu_seconds_;
    cpu_seconds_ += spent;
    auto seconds = options_.cpu_share < 1 ? spent / std::max(options_.cpu_share, kShareMin) : 0;
    if (options_.bytes_per_second > 0) {
        seconds = std::max(
            seconds, static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_second));
    }
    const auto until = last_ + std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
    Mutex mutex;
    CondVar never;
    MS_TRY_VOID(context.check());
    while (clock_.steady_now() < until) {
        const MutexLock lock(mutex);
        clock_.wait_until(mutex, never, std::min(until, clock_.steady_now() + kLook));
        MS_TRY_VOID(context.check());
    }
    last_ = clock_.steady_now();
    last_cpu_seconds_ = thread_cpu_seconds();
    return {};
}

}  // namespace molesignal
