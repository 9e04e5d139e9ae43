#include <gtest/gtest.h>

#include "query/query_registry.h"
#include "query/text_match.h"

namespace molesignal {
namespace {

bool matches(std::string_view query, std::string_view text) {
    const auto match = TextMatch::parse(query);
    EXPECT_TRUE(match) << query;
    return match && match->matches(text);
}

TEST(TextMatch, Words) {
    EXPECT_TRUE(matches("error", "an Error occurred"));
    EXPECT_TRUE(matches("ERROR occurred", "occurred: error"));
    EXPECT_FALSE(matches("err", "an Error occurred"));
    EXPECT_FALSE(matches("error", "terror errors error_code"));
    EXPECT_TRUE(matches("error_code", "terror errors error_code=5"));
    EXPECT_TRUE(matches("5", "code=5"));
    EXPECT_FALSE(matches("error", ""));
}

TEST(TextMatch, PrefixPhraseAndNot) {
    EXPECT_TRUE(matches("err*", "an Error occurred"));
    EXPECT_FALSE(matches("rror*", "an Error occurred"));
    EXPECT_TRUE(matches("\"connection refused\"", "got: Connection   refused."));
    EXPECT_FALSE(matches("\"connection refused\"", "connection was refused"));
    EXPECT_FALSE(matches("\"connection refused\"", "connection\x1erefused"));
    EXPECT_TRUE(matches("connection refused", "connection\x1erefused"));
    EXPECT_TRUE(matches("error -timeout", "error: refused"));
    EXPECT_FALSE(matches("error -timeout", "error: timeout"));
    EXPECT_FALSE(matches("-\"a b\"", "x a b"));
    EXPECT_TRUE(matches("user@example.com", "mail to User@Example.com now"));
    EXPECT_FALSE(matches("user@example.com", "example.com user"));
    EXPECT_TRUE(matches("\"a b\"", "a a b"));
}

TEST(TextMatch, CaseBeyondAscii) {
    EXPECT_TRUE(matches("\u00dcber", "\u00fcBER allem"));
    EXPECT_TRUE(
        matches("\u041f\u0440\u0438\u0432\u0435\u0442", "\u043f\u0440\u0418\u0412\u0435\u0442"));
    EXPECT_TRUE(matches("\u65e5\u672c", "\u65e5\u672c"));
    EXPECT_FALSE(matches("\u65e5", "\u65e5\u672c"));
    EXPECT_TRUE(matches("x", "\xc3 x")) << "a lead byte without its continuation";
}

TEST(TextMatch, RefusesEmptyAndBrokenQueries) {
    EXPECT_FALSE(TextMatch::parse(""));
    EXPECT_FALSE(TextMatch::parse(" -- * "));
    EXPECT_FALSE(TextMatch::parse("a \"b"));
    std::string many;
    for (int i = 0; i < 65; ++i) {
        many += "w ";
    }
    EXPECT_FALSE(TextMatch::parse(many));
    EXPECT_FALSE(TextMatch::parse('"' + many + '"')) << "words of phrases count too";
    EXPECT_FALSE(TextMatch::parse(std::string(1'025, 'x')));
    EXPECT_TRUE(TextMatch::parse(std::string(1'024, 'x')));
}

// Quadratic searches would take minutes here; ctest's time limit is the judge.
TEST(TextMatch, HostileTextsTakeLinearTime) {
    constexpr std::size_t kBytes = 2U << 20U;
    EXPECT_FALSE(matches(std::string(1'000, 'a'), std::string(kBytes, 'a')));
    EXPECT_FALSE(matches("a", std::string(kBytes, 'a')));
    EXPECT_FALSE(matches("ab*", std::string(kBytes, 'a')));
    std::string words;
    while (words.size() < kBytes) {
        words += "a ";
    }
    std::string phrase = "\"";
    for (int i = 0; i < 62; ++i) {
        phrase += "a ";
    }
    EXPECT_FALSE(matches(phrase + "b\"", words));
    EXPECT_TRUE(matches(phrase + "\"", words));
}

TEST(TextMatch, APhraseMayBeginInsideAFailedOne) {
    EXPECT_TRUE(matches("\"a a b\"", "a a a b"));
    EXPECT_TRUE(matches("\"x aa\"", "xaa x a x aa"));
    EXPECT_FALSE(matches("\"a a b\"", "a b a a c"));
}

TEST(QueryRegistry, CancelsOnlyOnesOwn) {
    QueryRegistry registry;
    CancelToken cancel;
    ASSERT_TRUE(registry.add({.id = "q1", .org = "a", .statement = "SELECT 1", .cancel = cancel}));
    EXPECT_EQ(registry.add({.id = "q1", .org = "a"}).error().code(), ErrorCode::kConflict);
    EXPECT_TRUE(registry.list("b").empty());
    EXPECT_EQ(registry.cancel("b", "q1").error().code(), ErrorCode::kNotFound);
    EXPECT_FALSE(cancel.cancelled());
    EXPECT_TRUE(registry.cancel("a", "q1"));
    EXPECT_TRUE(cancel.cancelled());
    registry.remove("a", "q1");
    EXPECT_EQ(registry.size(), 0U);
}

TEST(QueryRegistry, IdsOfTwoOrganisationsDoNotMeet) {
    QueryRegistry registry;
    CancelToken mine;
    CancelToken theirs;
    ASSERT_TRUE(registry.add({.id = "q1", .org = "a", .statement = "SELECT 1", .cancel = mine}));
    ASSERT_TRUE(registry.add({.id = "q1", .org = "b", .statement = "SELECT 2", .cancel = theirs}));
    ASSERT_EQ(registry.list("a").size(), 1U);
    EXPECT_EQ(registry.list("a")[0].statement, "SELECT 1");
    EXPECT_TRUE(registry.cancel("a", "q1"));
    EXPECT_FALSE(theirs.cancelled());
    registry.remove("a", "q1");
    EXPECT_EQ(registry.list("b").size(), 1U);
}

}  // namespace
}  // namespace molesignal
