#include "io/process_stats.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

namespace molesignal {
namespace {

/// When the machine was started, in seconds since 1970; 0 if unknown.
std::uint64_t boot_time_seconds() {
    std::ifstream stat("/proc/stat");
    for (std::string word; stat >> word;) {
        std::uint64_t seconds = 0;
        if (word == "btime" && stat >> seconds) {
            return seconds;
        }
    }
    return 0;
}

}  // namespace

Result<ProcessStats> read_process_stats() {
    std::ifstream file("/proc/self/stat");
    std::string line;
    std::getline(file, line);
    // The second field is the program's name in parentheses and may hold anything.
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) {
        return Error(ErrorCode::kUnavailable, "/proc/self/stat cannot be read");
    }
    constexpr int kFirstField = 3;
    constexpr int kUserTicks = 14;
    constexpr int kSystemTicks = 15;
    constexpr int kThreads = 20;
    constexpr int kStartTicks = 22;
    constexpr int kVirtualBytes = 23;
    constexpr int kResidentPages = 24;
    const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
    ProcessStats stats;
    std::istringstream fields(line.substr(name_end + 1));
    std::string field;
    for (int number = kFirstField; number <= kResidentPages && fields >> field; ++number) {
        if (number < kUserTicks) {
            continue;
        }
        const auto value = std::strtoull(field.c_str(), nullptr, 10);
        if (number == kUserTicks || number == kSystemTicks) {
            stats.cpu_seconds += static_cast<double>(value) / ticks_per_second;
        } else if (number == kThreads) {
            stats.threads = value;
        } else if (number == kStartTicks) {
            stats.start_time_seconds = static_cast<double>(boot_time_seconds()) +
                                       static_cast<double>(value) / ticks_per_second;
        } else if (number == kVirtualBytes) {
            stats.virtual_bytes = value;
        } else if (number == kResidentPages) {
            stats.resident_bytes = value * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
        }
    }
    std::error_code ignored;
    for (auto entry = std::filesystem::directory_iterator("/proc/self/fd", ignored);
         entry != std::filesystem::directory_iterator();
         entry.increment(ignored)) {
        ++stats.open_files;
    }
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        stats.open_files_max = limit.rlim_cur;
    }
    return stats;
}

std::uint64_t raise_open_files_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    auto raised = limit;
    raised.rlim_cur = limit.rlim_max;
    return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

}  // namespace molesignal
