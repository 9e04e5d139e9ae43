#include "common/time_argument.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

constexpr UnixNanos kNow{1'740'830'400'000'000'000};  // 2025-03-01T12:00:00Z
constexpr std::int64_t kNowUs = kNow.value / 1000;

std::int64_t parsed(std::string_view text) {
    const auto result = parse_time_argument(text, kNow);
    EXPECT_TRUE(result.has_value()) << text;
    return result.has_value() ? *result : -1;
}

TEST(TimeArgument, Relative) {
    EXPECT_EQ(parsed("now"), kNowUs);
    EXPECT_EQ(parsed("-15m"), kNowUs - 15LL * 60 * 1'000'000);
    EXPECT_EQ(parsed("-2h"), kNowUs - 2LL * 3600 * 1'000'000);
    EXPECT_EQ(parsed("-1d"), kNowUs - 86'400LL * 1'000'000);
    EXPECT_EQ(parsed("-1w"), kNowUs - 7 * 86'400LL * 1'000'000);
    EXPECT_EQ(parsed("+30s"), kNowUs + 30'000'000);
}

TEST(TimeArgument, Calendar) {
    EXPECT_EQ(parsed("2025-03-01T12:00:00Z"), kNowUs);
    EXPECT_EQ(parsed("2025-03-01 12:00"), kNowUs);
    EXPECT_EQ(parsed("2025-03-01"), kNowUs - 12LL * 3600 * 1'000'000);
    EXPECT_EQ(parsed("2025-03-01T14:00:00.25+02:00"), kNowUs + 250'000);
    EXPECT_EQ(parsed("2025-03-01T09:30:00.123456789-0230"), kNowUs + 123'456);
}

TEST(TimeArgument, NumbersByTheirSize) {
    EXPECT_EQ(parsed("1740830400"), kNowUs);
    EXPECT_EQ(parsed("1740830400000"), kNowUs);
    EXPECT_EQ(parsed("1740830400000000"), kNowUs);
    EXPECT_EQ(parsed("1740830400000000000"), kNowUs);
    EXPECT_EQ(parsed("0"), 0);
}

TEST(TimeArgument, RefusesWhatIsNoTime) {
    for (const auto* text : {"",
                             "-",
                             "-15",
                             "-15x",
                             "15m",
                             "--5m",
                             "-99999999999999999999m",
                             "-1000000000w",
                             "2025-13-01",
                             "2025-02-29",
                             "2025-03-01T25:00:00Z",
                             "2025-03-01T12:00:00Zx",
                             "2025-03-01T12:00:00+2",
                             "2025-3-1",
                             "-1",
                             "1e9",
                             "tomorrow"}) {
        const auto result = parse_time_argument(text, kNow);
        EXPECT_FALSE(result.has_value()) << text;
    }
}

}  // namespace
}  // namespace molesignal
