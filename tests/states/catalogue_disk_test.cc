// The catalogue's SQLite on a disk that fails and then loses power.
#include <algorithm>

#include <gtest/gtest.h>

#include "common/random.h"
#include "metadata/open_catalogue.h"
#include "tests/states/sqlite_mount.h"
#include "tests/support/crash_fs.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class CatalogueDisk : public ::testing::Test {
protected:
    std::unique_ptr<Catalogue> open(const SqliteMount& mount) {
        auto opened = open_sqlite_catalogue(mount.database("meta.db"), clock_, random_);
        EXPECT_TRUE(opened) << opened.error().message();
        EXPECT_TRUE((*opened)->migrate(context_));
        return std::move(*opened);
    }
    bool has_organization(Catalogue& catalogue, std::string_view slug) {
        const auto all = catalogue.list_organizations(context_);
        return all && std::ranges::any_of(*all, [&](const auto& org) { return org.slug == slug; });
    }

    ManualClock clock_;
    SeededRandom random_{1};
    RequestContext context_ = RequestContext::background(clock_, "test");
};

/// A kernel keeps the pages of a failed sync and calls them clean: SQLite finds that transaction
/// at its next start, and writes behind it. Whoever is behind it must not go with it.
TEST_F(CatalogueDisk, WhatAnOpenFindsOfAFailedSyncIsDurable) {
    CrashFs disk;
    FaultFs files(disk);
    {
        const SqliteMount mount(files);
        auto catalogue = open(mount);
        files.arm({.verbs = {FsVerb::kSync},
                   .path_contains = "meta.db",
                   .plan = {.nth = 1, .times = FaultTimes::kForEver},
                   .failed_sync = [&](const std::string& path) { disk.lose_unsynced(path); }});
        EXPECT_FALSE(catalogue->ensure_organization(context_, "refused"));
        catalogue.reset();  // It cannot clean up behind itself either.
        files.disarm();
    }
    {
        const SqliteMount mount(files);
        const auto catalogue = open(mount);
        ASSERT_TRUE(catalogue->ensure_organization(context_, "acknowledged"));
        const auto after = disk.clone_after_crash(1, CrashModel::kDropUnsynced);
        const SqliteMount mount_after(*after);
        EXPECT_TRUE(has_organization(*open(mount_after), "acknowledged"));
    }
}

}  // namespace
}  // namespace molesignal
