#include "io/process_stats.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "common/clock.h"

namespace molesignal {
namespace {

TEST(ProcessStats, AreOfThisProcess) {
    const auto first = read_process_stats();
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_GT(first->resident_bytes, 1U << 20U);
    EXPECT_GE(first->virtual_bytes, first->resident_bytes);
    EXPECT_GE(first->threads, 1U);
    EXPECT_GE(first->open_files, 3U);
    EXPECT_GE(first->open_files_max, first->open_files);
    const auto now = static_cast<double>(SystemClock().now().value) * 1e-9;
    EXPECT_LE(first->start_time_seconds, now + 2);
    EXPECT_GT(first->start_time_seconds, now - 24 * 3600);
    // Work is seen, at the kernel's resolution.
    volatile std::uint64_t sum = 0;
    auto last = *first;
    while (last.cpu_seconds < first->cpu_seconds + 0.02) {
        for (int i = 0; i < 1'000'000; ++i) {
            sum = sum + static_cast<std::uint64_t>(i);
        }
        last = *read_process_stats();
    }
    EXPECT_GT(last.cpu_seconds, first->cpu_seconds);
}

TEST(ProcessStats, TheLimitOfOpenFilesIsRaisedToTheHardOne) {
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    auto lowered = limit;
    lowered.rlim_cur = 100;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lowered), 0);
    EXPECT_EQ(raise_open_files_limit(), limit.rlim_max);
    EXPECT_EQ(read_process_stats()->open_files_max, limit.rlim_max);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

}  // namespace
}  // namespace molesignal
