#include "roles/owner_lease.h"

#include <filesystem>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"

namespace molesignal {
namespace {

class OwnerLeaseTest : public ::testing::Test {
protected:
    void SetUp() override {
        folder_ = std::filesystem::temp_directory_path() /
                  fmt::format("molesignal-owner-lease-{}", ::getpid());
        std::filesystem::create_directories(folder_);
        catalogue_ = *open_sqlite_catalogue(folder_ / "meta.db", clock_, random_);
        ASSERT_TRUE(catalogue_->migrate(context_));
    }
    void TearDown() override {
        catalogue_.reset();
        std::filesystem::remove_all(folder_);
    }

    SystemClock clock_;
    SystemRandom random_;
    MemoryFs fs_;
    const RequestContext context_ = RequestContext::background(clock_, "test");
    std::filesystem::path folder_;
    std::unique_ptr<Catalogue> catalogue_;
};

TEST_F(OwnerLeaseTest, OneServerAtATime) {
    OwnerLease first(*catalogue_, "first", "boot-1", random_);
    OwnerLease second(*catalogue_, "second", "boot-2", random_);
    ASSERT_TRUE(first.take(context_));
    const auto refused = second.take(context_);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
    EXPECT_NE(refused.error().message().find("another server uses the catalogue"),
              std::string::npos);
    EXPECT_TRUE(first.renew(context_));
    ASSERT_TRUE(first.release(context_));
    EXPECT_TRUE(second.take(context_)) << "given back, so no wait";
}

TEST_F(OwnerLeaseTest, ARestartOfTheSameDirectoryDoesNotWait) {
    OwnerLease dead(*catalogue_, "first", "boot-1", random_);
    ASSERT_TRUE(dead.take(context_));
    OwnerLease restarted(*catalogue_, "first", "boot-1", random_);
    EXPECT_TRUE(restarted.take(context_));
    EXPECT_TRUE(restarted.renew(context_));
    EXPECT_FALSE(dead.renew(context_)) << "should it not be dead after all, it ends";
}

TEST_F(OwnerLeaseTest, ACopyOfTheDirectoryWaits) {
    OwnerLease original(*catalogue_, "first", "boot-1", random_);
    ASSERT_TRUE(original.take(context_));
    for (const auto* identity : {"boot-2", "", "boot"}) {
        OwnerLease copy(*catalogue_, "first", identity, random_);
        EXPECT_EQ(copy.take(context_).error().code(), ErrorCode::kConflict) << identity;
    }
    EXPECT_TRUE(original.renew(context_));
}

TEST_F(OwnerLeaseTest, ALostLeaseIsNoticedAtTheNextRenewal) {
    OwnerLease first(*catalogue_, "first", "boot-1", random_);
    ASSERT_TRUE(first.take(context_));
    // As if it had not renewed in time.
    OwnerLease thief(*catalogue_, "first", "boot-1", random_);
    ASSERT_TRUE(thief.take(context_));
    EXPECT_EQ(first.renew(context_).error().code(), ErrorCode::kConflict);
    ASSERT_TRUE(thief.release(context_));
    const auto lost = first.renew(context_);
    ASSERT_FALSE(lost) << "others may have written to the catalogue in between";
    EXPECT_EQ(lost.error().code(), ErrorCode::kConflict);
}

TEST_F(OwnerLeaseTest, TheNodeIdStays) {
    ASSERT_TRUE(fs_.create_directories("data"));
    const auto made = load_node_id(fs_, "data/node_id", clock_, random_);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->size(), 26);
    EXPECT_EQ(*load_node_id(fs_, "data/node_id", clock_, random_), *made);
}

}  // namespace
}  // namespace molesignal
