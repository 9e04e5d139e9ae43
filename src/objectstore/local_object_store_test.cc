#include "objectstore/local_object_store.h"

#include <gtest/gtest.h>

#include "tests/support/crash_fs.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"
#include "tests/support/trace_fs.h"

namespace molesignal {
namespace {

class LocalObjectStoreTest : public testing::Test {
protected:
    std::unique_ptr<LocalObjectStore> open(FileSystem& fs) {
        return LocalObjectStore::open(context_, fs, "/data/objects", random_).value();
    }
    std::string get(FileSystem& fs, const std::string& key) {
        const auto body = open(fs)->get(context_, key, 0, 1000);
        return body.has_value() ? std::string(as_text(*body)) : "<none>";
    }

    ManualClock clock_;
    SeededRandom random_{1};
    RequestContext context_ = RequestContext::background(clock_, "test");
};

TEST_F(LocalObjectStoreTest, AcknowledgedObjectSurvivesEveryCut) {
    const auto seed = test_seed();
    CrashFs fs;
    const auto store = open(fs);
    ASSERT_TRUE(store->put(context_, "a/b/1", as_bytes("one")));
    ASSERT_TRUE(store->put(context_, "a/b/2", as_bytes("two")));
    for (const auto model : kCrashModels) {
        for (std::uint64_t round = 0; round < 20; ++round) {
            const auto after = fs.clone_after_crash(seed + round, model);
            EXPECT_EQ(get(*after, "a/b/1"), "one");
            EXPECT_EQ(get(*after, "a/b/2"), "two");
            EXPECT_TRUE(after->list("/data/objects/.tmp").value().empty());
        }
    }
}

TEST_F(LocalObjectStoreTest, ReplacedObjectIsOldOrNewAtEveryOperation) {
    const auto seed = test_seed();
    for (const auto model : kCrashModels) {
        for (std::uint64_t number = 1;; ++number) {
            CrashFs fs;
            const auto store = open(fs);
            ASSERT_TRUE(store->put(context_, "k/x", as_bytes("old")));
            fs.snapshot_before(fs.operation_count() + number, seed + number, model);
            ASSERT_TRUE(store->put(context_, "k/x", as_bytes("new")));
            const auto after = fs.take_snapshot();
            if (after == nullptr) {
                EXPECT_GT(number, 4);
                break;
            }
            const auto body = get(*after, "k/x");
            EXPECT_TRUE(body == "old" || body == "new") << body;
        }
    }
}

TEST_F(LocalObjectStoreTest, EveryFailureIsToldAndLeavesNothingHalf) {
    const auto hits = for_each_failure([&](const FaultPlan& plan) {
        CrashFs base;
        FaultFs fs(base);
        const auto store = open(fs);
        EXPECT_TRUE(store->put(context_, "k/x", as_bytes("old")));
        fs.arm({.plan = plan});
        const auto put = store->put(context_, "k/x", as_bytes("new"));
        const bool hit = fs.fired() > 0;
        fs.disarm();
        EXPECT_EQ(put.has_value(), !hit);
        const auto after = base.clone_after_crash(plan.nth, CrashModel::kRandomBlocks);
        const auto body = get(*after, "k/x");
        EXPECT_TRUE(body == "new" || (hit && body == "old")) << body;
        // Trying again is safe.
        EXPECT_TRUE(store->put(context_, "k/x", as_bytes("new")));
        EXPECT_EQ(get(base, "k/x"), "new");
        return hit;
    });
    EXPECT_GE(hits, 12);
}

TEST_F(LocalObjectStoreTest, DirectoryThatSomebodyElseMadeIsSyncedBeforeItsFirstObject) {
    CrashFs base;
    ASSERT_TRUE(base.create_directories("/data/objects/d/e"));
    TraceFs fs(base, "/data/objects");
    const auto store = open(fs);
    (void)fs.take_trace();
    ASSERT_TRUE(store->put(context_, "d/e/1", as_bytes("x")));
    const auto first = fs.take_trace();
    EXPECT_NE(first.find("sync-directory d\n"), std::string::npos) << first;
    EXPECT_NE(first.find("sync-directory .\n"), std::string::npos) << first;
    EXPECT_TRUE(first.ends_with("sync-directory d/e\n")) << first;
    ASSERT_TRUE(store->put(context_, "d/e/2", as_bytes("x")));
    const auto second = fs.take_trace();
    EXPECT_EQ(second.find("sync-directory d\n"), std::string::npos) << second;
}

TEST_F(LocalObjectStoreTest, ARootThatAKilledProcessMadeIsSyncedBeforeTheFirstObject) {
    CrashFs fs;
    ASSERT_TRUE(fs.create_directories("/data"));
    fs.leave_directory_unsynced("/data/objects");
    ASSERT_TRUE(open(fs)->put(context_, "a", as_bytes("x")));
    EXPECT_EQ(get(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "a"), "x");
}

TEST_F(LocalObjectStoreTest, ARemovalThatIsTriedAgainSurvivesACut) {
    CrashFs base;
    FaultFs fs(base);
    const auto store = open(fs);
    ASSERT_TRUE(store->put(context_, "k/x", as_bytes("1")));
    fs.arm({.verbs = {FsVerb::kSyncDirectory}});
    EXPECT_FALSE(store->remove(context_, "k/x"));
    EXPECT_TRUE(store->remove(context_, "k/x")) << "it is gone, and nobody has made that durable";
    EXPECT_EQ(get(*base.clone_after_crash(1, CrashModel::kDropUnsynced), "k/x"), "<none>");
    EXPECT_TRUE(store->remove(context_, "k/x"));
    EXPECT_TRUE(store->remove(context_, "never/x"));
}

TEST_F(LocalObjectStoreTest, OpenRemovesTemporaryFilesAndListHidesThem) {
    CrashFs fs;
    auto store = open(fs);
    ASSERT_TRUE(fs.open("/data/objects/.tmp/left", OpenMode::kCreateNew));
    int seen = 0;
    ASSERT_TRUE(store->list(context_, "", [&](const ObjectMeta&) {
        ++seen;
        return true;
    }));
    EXPECT_EQ(seen, 0);
    store = open(fs);
    EXPECT_TRUE(fs.list("/data/objects/.tmp").value().empty());
}

TEST_F(LocalObjectStoreTest, KeysCannotReachTheTemporaryFiles) {
    CrashFs fs;
    const auto store = open(fs);
    const auto put = store->put(context_, ".tmp/x", as_bytes("1"));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace molesignal
