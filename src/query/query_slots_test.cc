#include "query/query_slots.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class QuerySlotsTest : public ::testing::Test {
protected:
    /// Starts a thread that takes a slot, notes its organisation, and gives the slot back.
    void wait_in_turn(QuerySlots& slots, const std::string& org) {
        const auto before = slots.waiting();
        threads_.emplace_back([this, &slots, org] {
            auto slot = slots.take(context_, org);
            ASSERT_TRUE(slot);
            const MutexLock lock(mutex_);
            order_ += org;
        });
        while (slots.waiting() == before) {
            std::this_thread::yield();
        }
    }
    void join() {
        for (auto& thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }

    ManualClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    Mutex mutex_;
    std::string order_;
    std::vector<std::thread> threads_;
};

TEST_F(QuerySlotsTest, OrganisationsTakeTurns) {
    QuerySlots slots({.running_max = 1}, clock_);
    auto busy = slots.take(context_, "x");
    ASSERT_TRUE(busy);
    for (const auto* org : {"a", "a", "a", "b", "c"}) {
        wait_in_turn(slots, org);
    }
    busy->reset();
    join();
    EXPECT_EQ(order_.substr(0, 3), "abc") << "one query of each before the second of any";
    EXPECT_EQ(order_.size(), 5U);
    EXPECT_EQ(slots.running(), 0U);
}

TEST_F(QuerySlotsTest, AFreeSlotGoesToWhoRunsLess) {
    QuerySlots slots({.running_max = 3}, clock_);
    auto first = slots.take(context_, "a");
    auto second = slots.take(context_, "a");
    auto other = slots.take(context_, "b");
    wait_in_turn(slots, "a");
    wait_in_turn(slots, "c");
    first->reset();
    join();
    EXPECT_EQ(order_, "ca");
}

TEST_F(QuerySlotsTest, WaitingIsBoundedForAllAndForOne) {
    QuerySlots slots({.running_max = 1, .waiting_max = 3, .waiting_org_max = 2}, clock_);
    auto busy = slots.take(context_, "x");
    wait_in_turn(slots, "a");
    wait_in_turn(slots, "a");
    const auto third = slots.take(context_, "a");
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code(), ErrorCode::kResourceExhausted);
    wait_in_turn(slots, "b");
    EXPECT_FALSE(slots.take(context_, "c")) << "three wait";
    busy->reset();
    join();
    EXPECT_EQ(order_.size(), 3U);
}

TEST_F(QuerySlotsTest, TheDeadlineCountsWhileWaiting) {
    QuerySlots slots({.running_max = 1}, clock_);
    auto busy = slots.take(context_, "x");
    auto late = context_;
    late.deadline = clock_.steady_now() + std::chrono::seconds(5);
    Result<QuerySlots::Slot> taken = QuerySlots::Slot();
    std::thread waiter([&] { taken = slots.take(late, "a"); });
    clock_.await_waiters(1);
    clock_.advance(std::chrono::seconds(5));
    waiter.join();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(slots.waiting(), 0U);
    busy->reset();
    EXPECT_TRUE(slots.take(context_, "a"));
}

TEST_F(QuerySlotsTest, ACancelledQueryLeavesTheQueue) {
    QuerySlots slots({.running_max = 1}, clock_);
    auto busy = slots.take(context_, "x");
    auto cancelled = context_;
    cancelled.cancel = CancelToken();
    Result<QuerySlots::Slot> taken = QuerySlots::Slot();
    std::thread waiter([&] { taken = slots.take(cancelled, "a"); });
    clock_.await_waiters(1);
    cancelled.cancel.cancel();
    clock_.advance(std::chrono::seconds(1));
    waiter.join();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code(), ErrorCode::kCancelled);
    EXPECT_EQ(slots.waiting(), 0U);
}

}  // namespace
}  // namespace molesignal
