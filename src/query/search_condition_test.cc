#include "query/search_condition.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

constexpr UnixNanos kNow{1'700'000'000'000'000'000};

SearchSchema test_schema() {
    StreamSchema schema;
    std::int32_t id = 1;
    for (const auto& [name, type] : {std::pair{"message", FieldType::kString},
                                     {"body", FieldType::kString},
                                     {"level", FieldType::kString},
                                     {"Level", FieldType::kString},
                                     {"status", FieldType::kInt64},
                                     {"took", FieldType::kFloat64},
                                     {"ok", FieldType::kBool},
                                     {"at", FieldType::kTimestamp},
                                     {"raw", FieldType::kBytes},
                                     {"a\"b", FieldType::kString}}) {
        schema.variants.push_back({.id = FieldId{id++}, .name = name, .type = type});
    }
    return {StreamSettings{}, schema};
}

Result<std::string> condition(std::string_view text, const SearchSchema& schema) {
    MS_TRY(const auto search, parse_search(text));
    return search_condition(search, schema, kNow);
}

struct Printed {
    const char* text;
    const char* sql;
};

TEST(SearchCondition, PrintsAsWrittenDown) {
    static constexpr Printed kPrinted[] = {
        {"", "true"},
        {"error", "match_all('\"error\"')"},
        {"conn* \"a b\" -c", "(match_all('conn* \"a b\" -\"c\"'))"},
        {"a level:x b", "(\"level\" = 'x' AND match_all('\"a\" \"b\"'))"},
        {"-a", "NOT match_all('\"a\"')"},
        {"a OR b", "(match_all('\"a\"') OR match_all('\"b\"'))"},
        {"it's", "match_all('\"it''s\"')"},
        {"\"a\\\"b\"", "match_all('\"a b\"')"},
        {"message:err", "match(\"message\", '\"err\"')"},
        {"message:err*", "match(\"message\", 'err*')"},
        {"message:-err*", "match(\"message\", 'err*')"},
        {"-message:a", "NOT match(\"message\", '\"a\"')"},
        {"level:'", "\"level\" = ''''"},
        {"-level:x", "NOT coalesce(\"level\" = 'x', false)"},
        {"-(a b)", "NOT coalesce((match_all('\"a\" \"b\"')), false)"},
        {"Level:x", "\"Level__2\" = 'x'"},
        {"LEVEL:x", "\"level\" = 'x'"},
        {"level:e*", "starts_with(\"level\", 'e')"},
        {"level:*", "\"level\" IS NOT NULL"},
        {"level:/e.r'/", "regexp_matches(\"level\", 'e.r''')"},
        {"level:[a TO b}", "(\"level\" >= 'a' AND \"level\" < 'b')"},
        {"status:500", "\"status\" = 500"},
        {"status:5*", "starts_with(CAST(\"status\" AS VARCHAR), '5')"},
        {"status:>=5e2", "(\"status\" >= 5e2)"},
        {"took:<-1.5", "(\"took\" < -1.5)"},
        {"ok:true", "\"ok\" = true"},
        {"at:>1970-01-01T00:00:01Z", "(\"at\" > make_timestamptz(1000000::BIGINT))"},
        {"_timestamp:>=now", "(\"_timestamp\" >= make_timestamptz(1700000000000000::BIGINT))"},
        {"raw:eA==", "base64(\"raw\") = 'eA=='"},
        {"_event_id:1-2", "\"_event_id\" = '1-2'"},
        {"\"a\\\"b\":x", "\"a\"\"b\" = 'x'"},
        {"status:(1 OR >5)", "(\"status\" = 1 OR (\"status\" > 5))"},
    };
    const auto schema = test_schema();
    for (const auto& [text, sql] : kPrinted) {
        const auto printed = condition(text, schema);
        ASSERT_TRUE(printed) << text << ": " << printed.error().message();
        EXPECT_EQ(*printed, sql) << text;
    }
}

TEST(SearchCondition, SaysWhatIsWrong) {
    static constexpr Printed kRefused[] = {
        {"a levle:x", "search, byte 2: no field is called 'levle'; the nearest are Level, level"},
        {"status:abc", "'status' is of the type int64; 'abc' is not a number"},
        {"status:1e999", "is not a number"},
        {"status:inf", "is not a number"},
        {"status:\"1;--\"", "is not a number"},
        {"status:0x10", "is not a number"},
        {"status:[1 TO x]", "'x' is not a number"},
        {"ok:yes", "is not true or false"},
        {"ok:>true", "has no ranges"},
        {"at:soon", "'soon' is not a time"},
        {"a - b", "search, byte 2: '-': match: there is no word to look for"},
        {"\"\"", "there is no word to look for"},
        {"message:***", "'*' stands only at the end"},
    };
    const auto schema = test_schema();
    for (const auto& [text, message] : kRefused) {
        const auto printed = condition(text, schema);
        ASSERT_FALSE(printed) << text << ": " << *printed;
        EXPECT_EQ(printed.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_NE(printed.error().message().find(message), std::string::npos)
            << text << ": " << printed.error().message();
    }
    const SearchSchema bare(StreamSettings{}, StreamSchema{});
    EXPECT_NE(condition("x", bare).error().message().find("no full-text field"), std::string::npos);
    EXPECT_TRUE(condition("*", bare));
}

// One match_all takes 64 words; phrases have more than one.
TEST(SearchCondition, ManyWordsAreSplit) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
        text += "\"a b\" ";
    }
    const auto printed = condition(text, test_schema());
    ASSERT_TRUE(printed) << printed.error().message();
    EXPECT_NE(printed->find("') AND match_all('"), std::string::npos) << *printed;
}

}  // namespace
}  // namespace molesignal
