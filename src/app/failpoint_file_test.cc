#include "app/failpoint_file.h"

#include <gtest/gtest.h>

#include "common/failpoint.h"
#include "io/memory_fs.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(app_test_point);

/// Puts `spec` into the file and waits for the answer to it.
std::string arm_by_file(MemoryFs& fs, std::string_view spec) {
    (void)fs.remove("points.armed");
    EXPECT_TRUE(write_file_atomically(fs, "points", as_bytes(spec)));
    while (true) {
        if (const auto answer = read_file(fs, "points.armed", 1024)) {
            return std::string(as_text(*answer));
        }
        std::this_thread::yield();
    }
}

TEST(FailpointFile, ArmsAndDisarmsWhileTheProcessRuns) {
    MemoryFs fs;
    SystemClock clock;
    const FailpointFile file(fs, clock, "points");
    EXPECT_TRUE(app_test_point.pass());
    EXPECT_EQ(arm_by_file(fs, "app_test_point=error@1+\n"), "app_test_point=error@1+\n");
    EXPECT_FALSE(app_test_point.pass());
    EXPECT_EQ(arm_by_file(fs, "app_test_point=explode").substr(0, 6), "error:");
    EXPECT_FALSE(app_test_point.pass()) << "a wrong spec changes nothing";
    EXPECT_EQ(arm_by_file(fs, ""), "");
    EXPECT_TRUE(app_test_point.pass());
}

}  // namespace
}  // namespace molesignal
