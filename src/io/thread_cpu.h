#pragma once

namespace molesignal {

/// CPU seconds of the calling thread, user and system.
double thread_cpu_seconds();

/// Makes the calling thread give way to the process's others while they want the CPU (Linux: nice
/// 10 for this thread alone). For background work; it cannot be taken back.
void lower_thread_priority();

}  // namespace molesignal
