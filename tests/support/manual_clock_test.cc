#include "tests/support/manual_clock.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace molesignal {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST(ManualClock, StandsStillUntilMoved) {
    ManualClock clock;
    const auto wall = clock.now();
    const auto steady = clock.steady_now();
    EXPECT_EQ(clock.now(), wall);
    clock.advance(seconds(5));
    EXPECT_EQ(clock.now().value - wall.value, 5'000'000'000);
    EXPECT_EQ(clock.steady_now().value - steady.value, 5'000'000'000);
    clock.set_wall(UnixNanos{7});
    EXPECT_EQ(clock.now().value, 7);
    EXPECT_EQ(clock.steady_now().value - steady.value, 5'000'000'000);
}

TEST(ManualClock, PassedDeadlineReturnsAtOnce) {
    ManualClock clock;
    Mutex mutex;
    CondVar condition;
    const MutexLock lock(mutex);
    clock.wait_until(mutex, condition, clock.steady_now());
}

TEST(ManualClock, AdvanceWakesEveryWaiterAtItsDeadline) {
    ManualClock clock;
    Mutex mutex;
    CondVar condition;
    std::atomic<int> done{0};
    std::vector<std::thread> threads;
    for (int i = 1; i <= 4; ++i) {
        threads.emplace_back([&, deadline = clock.steady_now() + hours(i)] {
            const MutexLock lock(mutex);
            while (clock.steady_now() < deadline) {
                clock.wait_until(mutex, condition, deadline);
            }
            ++done;
        });
    }
    for (int i = 1; i <= 4; ++i) {
        clock.await_waiters(static_cast<std::size_t>(5 - i));
        EXPECT_EQ(done, i - 1);
        clock.advance(hours(1));
        threads[static_cast<std::size_t>(i - 1)].join();
        EXPECT_GE(done, i);
    }
}

TEST(ManualClock, NotifiedWaiterMayVanishWhileTheClockMoves) {
    ManualClock clock;
    for (int round = 0; round < 100; ++round) {
        std::atomic<bool> stop{false};
        std::thread waiter([&] {
            Mutex mutex;
            CondVar condition;
            const MutexLock lock(mutex);
            clock.wait_until(mutex, condition, clock.steady_now() + seconds(1));
            stop = true;
        });
        while (!stop) {
            clock.advance(seconds(1));
        }
        waiter.join();
    }
}

}  // namespace
}  // namespace molesignal
