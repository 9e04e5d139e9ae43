#include "api/http/search_request.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

TEST(AnswerRows, AreFoundWhateverTheirTextsHold) {
    AnswerRows answer;
    EXPECT_TRUE(answer.rows().empty());
    answer.text = R"([1,"a]\"[\\"],["{",[2,[]],{"b":"]"}],[])";
    const auto rows = answer.rows();
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0], R"([1,"a]\"[\\"])");
    EXPECT_EQ(rows[1], R"(["{",[2,[]],{"b":"]"}])");
    EXPECT_EQ(rows[2], "[]");
}

TEST(AnswerRows, HaveAPlace) {
    AnswerRows answer;
    answer.columns = {"_timestamp", "x", "_timestamp_nanos", "_shard", "_position"};
    const auto place = answer.place_of(R"(["2023-11-14T22:13:20.000001999Z",null,999,7,42])");
    ASSERT_TRUE(place) << place.error().message();
    EXPECT_EQ(
        *place,
        (RowPlace{.time_us = 1'700'000'000'000'001, .nanos = 999, .shard = 7, .position = 42}));
    EXPECT_FALSE(answer.place_of(R"(["2023-11-14T22:13:20Z",null,null,7,42])"));
    EXPECT_FALSE(answer.place_of("nothing"));
}

}  // namespace
}  // namespace molesignal
