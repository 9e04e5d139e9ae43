#include "storage/cache/flights.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

using Value = Flights::Value;

class FlightsTest : public ::testing::Test {
protected:
    RequestContext context() { return RequestContext::background(clock_, "test"); }
    static Value value(int number) { return std::make_shared<const int>(number); }
    static int number(const Value& value) { return *std::static_pointer_cast<const int>(value); }
    Result<Value> load(const RequestContext& context,
                       const std::function<Result<Value>()>& load,
                       bool& merged) {
        return flights_.load(context, key_, [] { return nullptr; }, load, merged);
    }

    ManualClock clock_;
    Flights flights_{clock_};
    FlightKey key_{.object = "a"};
};

TEST_F(FlightsTest, ManyWhoWantTheSameLoadItOnce) {
    std::atomic<int> loads{0};
    std::atomic<int> merged_count{0};
    auto leader = flights_.join(key_);
    ASSERT_TRUE(leader.leads());
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            bool merged = false;
            const auto got = load(
                context(),
                [&]() -> Result<Value> {
                    ++loads;
                    return value(2);
                },
                merged);
            ASSERT_TRUE(got);
            EXPECT_EQ(number(*got), 1);
            merged_count += merged ? 1 : 0;
        });
    }
    clock_.await_waiters(8);
    leader.land(value(1));
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(loads, 0);
    EXPECT_EQ(merged_count, 8);
}

TEST_F(FlightsTest, AfterAFailedLeaderEachWaiterTriesItself) {
    std::atomic<int> loads{0};
    std::vector<std::thread> threads;
    std::atomic<int> failed{0};
    {
        const auto leader = flights_.join(key_);
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                bool merged = false;
                const auto got = load(
                    context(),
                    [&]() -> Result<Value> {
                        ++loads;
                        return Error(ErrorCode::kUnavailable, "no");
                    },
                    merged);
                failed += got ? 0 : 1;
            });
        }
        clock_.await_waiters(4);
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(loads, 4) << "nobody has another one's error";
    EXPECT_EQ(failed, 4);
}

TEST_F(FlightsTest, AWaiterEndsAtItsOwnDeadline) {
    auto leader = flights_.join(key_);
    auto limited = context();
    limited.deadline = clock_.steady_now() + std::chrono::seconds(1);
    std::optional<ErrorCode> code;
    std::thread waiter([&] {
        bool merged = false;
        const auto got = load(limited, [] { return value(2); }, merged);
        code = got ? std::nullopt : std::optional(got.error().code());
    });
    // Woken now and then to look whether it is cancelled.
    for (int i = 0; i < 60; ++i) {
        clock_.await_waiters(1);
        clock_.advance(std::chrono::milliseconds(20));
        if (clock_.steady_now() >= limited.deadline) {
            break;
        }
    }
    waiter.join();
    EXPECT_EQ(code, ErrorCode::kTimeout);
    leader.land(value(1));
}

TEST_F(FlightsTest, ACancelledWaiterEnds) {
    auto leader = flights_.join(key_);
    const auto cancelled = context();
    std::optional<ErrorCode> code;
    std::thread waiter([&] {
        bool merged = false;
        const auto got = load(cancelled, [] { return value(2); }, merged);
        code = got ? std::nullopt : std::optional(got.error().code());
    });
    clock_.await_waiters(1);
    cancelled.cancel.cancel();
    clock_.advance(std::chrono::milliseconds(20));
    waiter.join();
    EXPECT_EQ(code, ErrorCode::kCancelled);
}

TEST_F(FlightsTest, WhoJoinsBetweenLandingAndItsEndHasTheValue) {
    auto leader = flights_.join(key_);
    leader.land(value(1));
    auto late = flights_.join(key_);
    EXPECT_FALSE(late.leads());
    const auto got = late.wait(context());
    ASSERT_TRUE(got);
    EXPECT_EQ(number(*got), 1);
}

TEST_F(FlightsTest, ALeaderLooksOnceMoreForWhatIsKnown) {
    bool merged = true;
    const auto got = flights_.load(
        context(),
        key_,
        [] { return value(3); },
        []() -> Result<Value> { return Error(ErrorCode::kInternal, "must not load"); },
        merged);
    ASSERT_TRUE(got);
    EXPECT_EQ(number(*got), 3);
    EXPECT_FALSE(merged);
}

TEST_F(FlightsTest, OtherRangesDoNotWait) {
    const auto leader = flights_.join(key_);
    EXPECT_FALSE(flights_.join(key_).leads());
    EXPECT_TRUE(flights_.join({.object = "a", .offset = 1}).leads());
    EXPECT_TRUE(flights_.join({.object = "b"}).leads());
}

}  // namespace
}  // namespace molesignal
