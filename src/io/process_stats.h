#pragma once

#include <cstdint>

#include "common/result.h"

namespace molesignal {

/// What the kernel counts for this process (Linux: /proc/self).
struct ProcessStats {
    double cpu_seconds = 0;  ///< User and system, all threads.
    std::uint64_t resident_bytes = 0;
    std::uint64_t virtual_bytes = 0;
    std::uint64_t open_files = 0;
    std::uint64_t open_files_max = 0;
    std::uint64_t threads = 0;
    double start_time_seconds = 0;  ///< Since 1970.
};

/// kUnavailable if /proc is not there. Thread-safe.
Result<ProcessStats> read_process_stats();

/// Raises the soft limit of open files to the hard one; the limit in force afterwards.
std::uint64_t raise_open_files_limit();

}  // namespace molesignal
