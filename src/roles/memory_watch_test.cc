#include "roles/memory_watch.h"

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class MemoryWatchTest : public ::testing::Test {
protected:
    ManualClock clock_;
    std::shared_ptr<MemoryBudget> budget_ = MemoryBudget::make_root("process", "limit", 1000);
    std::uint64_t resident_ = 0;
    std::uint64_t kept_free_ = 0;  // Of it, what giving back frees.
    int given_back_ = 0;
    MemoryWatch watch_{budget_,
                       clock_,
                       [this] { return resident_; },
                       [this] {
                           ++given_back_;
                           resident_ -= kept_free_;
                           kept_free_ = 0;
                       }};
};

TEST_F(MemoryWatchTest, WhatNobodyCountsTakesRoom) {
    budget_->force_reserve(300);
    resident_ = 300;
    watch_.look();
    EXPECT_EQ(budget_->uncounted_bytes(), 0);
    resident_ = 350;
    watch_.look();
    EXPECT_EQ(budget_->uncounted_bytes(), 50);
    EXPECT_EQ(given_back_, 0) << "there is plenty";
    EXPECT_TRUE(budget_->reserve(650));
    EXPECT_FALSE(budget_->reserve(1));
    budget_->release(950);
}

TEST_F(MemoryWatchTest, WhatTheAllocatorKeepsIsGivenBackFirstAndNotAllTheTime) {
    budget_->force_reserve(500);
    resident_ = 900;
    kept_free_ = 400;
    watch_.look();
    EXPECT_EQ(given_back_, 1);
    EXPECT_EQ(budget_->uncounted_bytes(), 0);
    resident_ = 900;
    kept_free_ = 400;
    watch_.look();
    EXPECT_EQ(given_back_, 1) << "too soon";
    EXPECT_EQ(budget_->uncounted_bytes(), 400);
    clock_.advance(std::chrono::seconds(1));
    watch_.look();
    EXPECT_EQ(given_back_, 2);
    EXPECT_EQ(budget_->uncounted_bytes(), 0);
    budget_->release(500);
}

TEST_F(MemoryWatchTest, HalfOfTheLimitStaysUsable) {
    resident_ = 5000;
    watch_.look();
    EXPECT_EQ(budget_->uncounted_bytes(), 500);
    resident_ = 0;  // Unknown, or below what is reserved and not touched yet.
    watch_.look();
    EXPECT_EQ(budget_->uncounted_bytes(), 0);
}

}  // namespace
}  // namespace molesignal
