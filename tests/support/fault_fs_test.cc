#include "tests/support/fault_fs.h"

#include <gtest/gtest.h>

#include "io/memory_fs.h"
#include "tests/support/crash_fs.h"

namespace molesignal {
namespace {

TEST(FaultFs, FailsTheNthOperationOfAKindAndPathOnce) {
    MemoryFs base;
    FaultFs fs(base);
    fs.arm({.verbs = {FsVerb::kOpen},
            .path_contains = "wal",
            .plan = {.nth = 2},
            .code = ErrorCode::kResourceExhausted});
    EXPECT_TRUE(fs.open("/other", OpenMode::kCreateNew));
    EXPECT_TRUE(fs.open("/wal-1", OpenMode::kCreateNew));
    const auto failed = fs.open("/wal-2", OpenMode::kCreateNew);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_FALSE(base.exists("/wal-2").value());
    EXPECT_TRUE(fs.open("/wal-2", OpenMode::kCreateNew));
    EXPECT_EQ(fs.fired(), 1);
    EXPECT_EQ(fs.operation_count(), 4);
}

TEST(FaultFs, ForEverLastsUntilDisarmed) {
    MemoryFs base;
    FaultFs fs(base);
    fs.arm({.verbs = {FsVerb::kExists}, .plan = {.nth = 2, .times = FaultTimes::kForEver}});
    EXPECT_TRUE(fs.exists("/a"));
    EXPECT_FALSE(fs.exists("/a"));
    EXPECT_FALSE(fs.exists("/a"));
    fs.disarm();
    EXPECT_TRUE(fs.exists("/a"));
    EXPECT_EQ(fs.fired(), 2);
}

TEST(FaultFs, FailedWriteLeavesAPrefix) {
    MemoryFs base;
    FaultFs fs(base);
    const auto file = fs.open("/f", OpenMode::kCreateNew).value();
    fs.arm({.verbs = {FsVerb::kWrite}});
    EXPECT_FALSE(file->write_at(0, as_bytes("abcd")));
    EXPECT_EQ(as_text(read_file(base, "/f", 100).value()), "ab");
}

TEST(FaultFs, AfterAFailedSyncTheFileIsNeverDurableAgain) {
    CrashFs base;
    FaultFs fs(base);
    const auto file = fs.open("/f", OpenMode::kCreateNew).value();
    ASSERT_TRUE(fs.sync_directory("/"));
    ASSERT_TRUE(file->write_at(0, as_bytes("one")));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(file->write_at(3, as_bytes("two")));
    fs.arm({.verbs = {FsVerb::kSync}});
    EXPECT_FALSE(file->sync());
    EXPECT_TRUE(file->sync()) << "a second sync claims success, as the kernel's does";
    EXPECT_EQ(as_text(read_file(fs, "/f", 100).value()), "onetwo");
    const auto after = base.clone_after_crash(1, CrashModel::kDropUnsynced);
    EXPECT_EQ(as_text(read_file(*after, "/f", 100).value()), "one");
}

TEST(ForEachFailure, TriesEveryOperationOnceAndForEver) {
    std::uint64_t calls = 0;
    const auto hits = for_each_failure([&](const FaultPlan& plan) {
        ++calls;
        CrashFs base;
        EXPECT_TRUE(write_file_atomically(base, "/f", as_bytes("old")));
        FaultFs fs(base);
        fs.arm({.plan = plan});
        const auto written = write_file_atomically(fs, "/f", as_bytes("new"));
        fs.disarm();
        const bool hit = fs.fired() > 0;
        EXPECT_EQ(written.has_value(), !hit);
        for (const auto model : kCrashModels) {
            const auto after = base.clone_after_crash(plan.nth, model);
            const auto text = std::string(as_text(read_file(*after, "/f", 100).value()));
            EXPECT_TRUE(text == "new" || (hit && text == "old")) << text;
        }
        return hit;
    });
    // exists, open, write, sync, close, rename, sync_directory.
    EXPECT_EQ(hits, 14);
    EXPECT_EQ(calls, 16);
}

}  // namespace
}  // namespace molesignal
