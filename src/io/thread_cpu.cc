#include "io/thread_cpu.h"

#include <ctime>

#include <sys/resource.h>
#include <unistd.h>

namespace molesignal {

double thread_cpu_seconds() {
    timespec spent{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) * 1e-9;
}

void lower_thread_priority() {
    constexpr int kNice = 10;
    // On Linux the priority is the thread's, if it is asked for by the thread's id. Where it is
    // refused, the work only gives way less.
    static_cast<void>(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice));
}

}  // namespace molesignal
