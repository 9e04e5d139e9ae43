#include "query/search_statements.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

constexpr SearchCursor kCursor{
    .last = {.time_us = 1'700'000'000'000'001, .nanos = 999, .shard = 7, .position = 42},
    .start_us = INT64_MIN,
    .end_us = 1'800'000'000'000'000};

TEST(SearchCursor, ComesBack) {
    const auto text = encode_search_cursor(kCursor, "scope");
    const auto back = decode_search_cursor(text, "scope");
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(*back, kCursor);
}

TEST(SearchCursor, FitsNoOtherSearch) {
    const auto text = encode_search_cursor(kCursor, "scope");
    EXPECT_EQ(decode_search_cursor(text, "other").error().code(), ErrorCode::kInvalidArgument);
}

TEST(SearchCursor, IsWithinItsRange) {
    auto outside = kCursor;
    outside.last.time_us = outside.end_us;
    EXPECT_FALSE(decode_search_cursor(encode_search_cursor(outside, "scope"), "scope"));
    outside = kCursor;
    outside.start_us = outside.last.time_us + 1;
    EXPECT_FALSE(decode_search_cursor(encode_search_cursor(outside, "scope"), "scope"));
}

TEST(SearchCursor, DamageIsFoundAtEveryByteAndLength) {
    const auto text = encode_search_cursor(kCursor, "scope");
    for (std::size_t i = 0; i < text.size(); ++i) {
        for (const char wrong : {'0', 'f', 'x', '\0'}) {
            auto damaged = text;
            damaged[i] = wrong;
            EXPECT_TRUE(damaged == text || !decode_search_cursor(damaged, "scope")) << i;
        }
        EXPECT_FALSE(decode_search_cursor(text.substr(0, i), "scope")) << i;
    }
    EXPECT_FALSE(decode_search_cursor(text + "00", "scope"));
}

TEST(EventId, IsTwoNumbers) {
    const auto place = parse_event_id("3-1024");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->shard, 3);
    EXPECT_EQ(place->position, 1024);
    for (const auto* wrong :
         {"", "3", "3-", "-3", "3-4x", "3--4", "-3-4", "99999999999999999999-1"}) {
        EXPECT_FALSE(parse_event_id(wrong)) << wrong;
    }
}

TEST(SearchStatements, Pages) {
    const SearchTarget target{.stream = "a\"b", .condition = "true"};
    EXPECT_EQ(newest_first_statement(target, {}, 5),
              "SELECT * FROM logs.\"a\"\"b\" WHERE true ORDER BY _timestamp DESC, "
              "_timestamp_nanos DESC, _shard DESC, _position DESC LIMIT 5");
    EXPECT_EQ(
        oldest_first_statement(target, {.time_us = 9, .nanos = 8, .shard = 7, .position = 6}, 5),
        "SELECT * FROM logs.\"a\"\"b\" WHERE true AND _timestamp >= make_timestamptz(9::BIGINT) "
        "AND (_timestamp > make_timestamptz(9::BIGINT) OR _timestamp_nanos > 8 OR "
        "(_timestamp_nanos = 8 AND (_shard > 7 OR (_shard = 7 AND _position >= 6)))) ORDER BY "
        "_timestamp ASC, _timestamp_nanos ASC, _shard ASC, _position ASC LIMIT 5");
}

TEST(BucketWidth, IsRoundAndGivesAtMost120Buckets) {
    constexpr std::int64_t kSecond = 1'000'000;
    EXPECT_EQ(choose_bucket_width(0).text, "1s");
    EXPECT_EQ(choose_bucket_width(120 * kSecond - 1).text, "1s");
    EXPECT_EQ(choose_bucket_width(120 * kSecond).text, "2s");
    EXPECT_EQ(choose_bucket_width(3600 * kSecond).text, "1m");
    EXPECT_EQ(choose_bucket_width(86'400 * kSecond).text, "15m");
    for (std::int64_t range = 1; range < 4'000'000'000'000'000; range *= 3) {
        EXPECT_LT(range / choose_bucket_width(range).micros, 120) << range;
    }
    for (const auto* wrong : {"", "5", "m", "0m", "-1m", "5 m", "5mm", "100001s", "1y"}) {
        EXPECT_FALSE(parse_bucket_width(wrong)) << wrong;
    }
}

}  // namespace
}  // namespace molesignal
