#include "net/transfer_pace.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

using std::chrono::milliseconds;

std::int64_t left_ms(const TransferPace& pace) {
    return pace.deadline(SteadyNanos{0}).value / 1'000'000;
}

TEST(TransferPace, EveryWindowNeedsItsBytes) {
    TransferPace pace(milliseconds(1000), 100);
    EXPECT_EQ(left_ms(pace), 1000);
    pace.moved(milliseconds(400), 99);
    EXPECT_EQ(left_ms(pace), 600) << "not enough yet: the window goes on";
    pace.moved(milliseconds(500), 1);
    EXPECT_EQ(left_ms(pace), 1000) << "enough: a new window";
}

TEST(TransferPace, AFastStartEarnsNothing) {
    TransferPace pace(milliseconds(1000), 100);
    pace.moved(milliseconds(1), 1'000'000'000);
    EXPECT_EQ(left_ms(pace), 1000);
    for (int i = 0; i < 10; ++i) {
        pace.moved(milliseconds(100), 9);
    }
    EXPECT_EQ(left_ms(pace), 0);
}

TEST(TransferPace, WithoutARateOneByteIsEnough) {
    TransferPace pace(milliseconds(1000), 0);
    pace.moved(milliseconds(999), 0);
    EXPECT_EQ(left_ms(pace), 1);
    pace.moved(milliseconds(0), 1);
    EXPECT_EQ(left_ms(pace), 1000);
}

}  // namespace
}  // namespace molesignal
