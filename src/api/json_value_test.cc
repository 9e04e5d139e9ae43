#include "api/json_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kBytesMax = 1000;

JsonObject object(std::string_view text) {
    return JsonObject::parse(text, kBytesMax).value();
}

TEST(JsonObject, SizeAndFormHaveDifferentErrors) {
    const auto code = [](const std::string& text) {
        const auto parsed = JsonObject::parse(text, kBytesMax);
        return parsed ? ErrorCode{} : parsed.error().code();
    };
    const auto of_size = [](std::size_t bytes) {
        return R"({"a":")" + std::string(bytes - 8, 'x') + R"("})";
    };
    EXPECT_EQ(code(of_size(kBytesMax)), ErrorCode{});
    EXPECT_EQ(code(of_size(kBytesMax + 1)), ErrorCode::kTooLarge);
    for (const auto* text : {"", "[]", "7", "{", "{} {}", "{\"a\":}"}) {
        EXPECT_EQ(code(text), ErrorCode::kInvalidArgument) << text;
    }
}

TEST(JsonObject, UnknownMembersAreRefusedWithTheNearest) {
    const auto refused = object(R"({"statment":1})").allow_only({"statement", "limit"});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("did you mean 'statement'?"));
    EXPECT_THAT(object(R"({"zzz":1})").allow_only({"statement"}).error().message(),
                HasSubstr("unknown member 'zzz'; known are statement"));
    const auto inner = object(R"({"range":{"from":1}})").object("range");
    ASSERT_TRUE(inner && inner->has_value());
    EXPECT_THAT((*inner)->allow_only({"start"}).error().message(), HasSubstr("'range.from'"));
}

TEST(JsonObject, TimesAreMicrosecondsOrTexts) {
    const UnixNanos now{1'700'000'000'000'000'000};
    const auto body = object(
        R"({"micros":12,"negative":-5,"text":"2023-11-14T22:13:20Z","ago":"-15m","now":"now",)"
        R"("bad":"soon","object":{},"none":null})");
    EXPECT_EQ(*body.time("micros", now), 12);
    EXPECT_EQ(*body.time("negative", now), -5);
    EXPECT_EQ(*body.time("text", now), 1'700'000'000'000'000);
    EXPECT_EQ(*body.time("ago", now), 1'699'999'100'000'000);
    EXPECT_EQ(*body.time("now", now), 1'700'000'000'000'000);
    EXPECT_EQ(*body.time("none", now), std::nullopt);
    EXPECT_EQ(*body.time("missing", now), std::nullopt);
    EXPECT_THAT(body.time("bad", now).error().message(), HasSubstr("'bad': 'soon' is not a time"));
    EXPECT_FALSE(body.time("object", now));
}

}  // namespace
}  // namespace molesignal
