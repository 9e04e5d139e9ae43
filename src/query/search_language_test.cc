#include "query/search_language.h"

#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

struct Accepted {
    const char* text;
    const char* form;  ///< As search_text writes it.
};

TEST(SearchLanguage, ReadsAsWrittenDown) {
    static constexpr Accepted kAccepted[] = {
        {"", "*"},
        {" \t\n", "*"},
        {"*", "*"},
        {"error", "error"},
        {"error  timeout", "error timeout"},
        {"error AND timeout", "error timeout"},
        {"a OR b c", "a OR b c"},
        {"(a OR b) c", "(a OR b) c"},
        {"a (b (c d))", "a b c d"},
        {"a OR (b OR c)", "a OR b OR c"},
        {"-a", "NOT a"},
        {"NOT a b", "NOT a b"},
        {"-(a b)", "NOT (a b)"},
        {"NOT NOT a", "NOT NOT a"},
        {"a -\"b c\"", "a NOT \"b c\""},
        {"--flag", "\"--flag\""},
        {"a - b", "a \"-\" b"},
        {"\"and\" and \"AND\"", "and and \"AND\""},
        {"conn*", "conn*"},
        {"\"a \\\"b\\\" \\\\ c\"", "\"a \\\"b\\\" \\\\ c\""},
        {"\"a\"\"b\"", "a b"},
        {"foo(bar)", "foo bar"},
        {"user@example.com", "\"user@example.com\""},
        {"/api/v1", "\"/api/v1\""},
        {"level:error", "level:error"},
        {"level:\"a b\"", "level:\"a b\""},
        {"\"service.name\":cart", "service.name:cart"},
        {"\"a b\":c", "\"a b\":c"},
        {"AND:x", "\"AND\":x"},
        {"level:*", "level:*"},
        {"level:err*", "level:err*"},
        {"n:-5", "n:\"-5\""},
        {"-n:5", "NOT n:5"},
        {"n:>5 n:>=5 n:<5 n:<=5", "n:>5 n:>=5 n:<5 n:<=5"},
        {"n:[1 TO 5]", "n:[1 TO 5]"},
        {"n:{1 TO 5}", "n:{1 TO 5}"},
        {"n:[ 1 TO 5 }", "n:[1 TO 5}"},
        {"n:[1 TO *]", "n:>=1"},
        {"n:{* TO 5}", "n:<5"},
        {"n:[\"*\" TO \"]\"]", "n:[\"*\" TO \"]\"]"},
        {"t:>=2025-03-01T12:00:00Z", "t:>=\"2025-03-01T12:00:00Z\""},
        {"l:(a OR b)", "l:a OR l:b"},
        {"l:(a -b \"c d\")", "l:a NOT l:b l:\"c d\""},
        {"n:(>5 <9 OR 1)", "n:>5 n:<9 OR n:1"},
        {"t:(12:30 OR x)", "t:\"12:30\" OR t:x"},
        {"p:/a b/", "p:/a b/"},
        {"p:/a\\/b\\d/", "p:/a\\/b\\d/"},
        {"(p:/x/)", "p:/x/"},
        {"\xd0\x9f\xd1\x80 \xe6\x97\xa5", "\xd0\x9f\xd1\x80 \xe6\x97\xa5"},
    };
    for (const auto& [text, form] : kAccepted) {
        const auto tree = parse_search(text);
        ASSERT_TRUE(tree) << text << ": " << tree.error().message();
        EXPECT_EQ(search_text(*tree), form) << text;
        const auto again = parse_search(form);
        ASSERT_TRUE(again) << form << ": " << again.error().message();
        EXPECT_EQ(*again, *tree) << text;
    }
}

struct Refused {
    std::string text;
    const char* message;
};

TEST(SearchLanguage, SaysWhatIsWrongAndWhere) {
    const Refused refused[] = {
        {"a )", "byte 2: this ')' closes nothing"},
        {"(a", "byte 0: this '(' is not closed"},
        {"x ()", "byte 2: empty parentheses"},
        {"\"a", "byte 0: this quote is not closed"},
        {"a AND", "byte 5: a word or a condition is missing"},
        {"OR a", "byte 0: a word or a condition is missing"},
        {"a OR OR b", "byte 5: a word or a condition is missing"},
        {"NOT", "byte 3: a word or a condition is missing"},
        {":a", "byte 0: a field's name is missing"},
        {"a: b", "byte 2: a value is missing after 'a:'"},
        {"a:", "byte 2: a value is missing after 'a:'"},
        {"a:>", "byte 3: a value is missing"},
        {"a:>*", "a value is missing"},
        {"a*b", "byte 1: '*' stands only at the end"},
        {"a:b*c", "byte 3: '*' stands only at the end"},
        {"**", "byte 0: '*' stands only at the end"},
        {"a:[1 2]", "a range is written [low TO high]"},
        {"a:[1 TO 2", "byte 2: this range is not closed"},
        {"a:[* TO *]", "byte 2: a range needs an end"},
        {"a:/x", "byte 2: this regular expression is not closed"},
        {"a://", "byte 2: an empty regular expression"},
        {"a:/x/y", "byte 5: a regular expression ends"},
        {std::string("a\0b", 3), "byte 1: a control character (0x00)"},
        {"a \x1e", "byte 2: a control character (0x1e)"},
        {"a\xff", "not UTF-8"},
        {std::string(kSearchBytesMax + 1, 'a'), "the text has 16385 bytes, the most is 16384"},
        {std::string(kSearchDepthMax + 1, '(') + "a", "byte 24: more than 24 levels"},
        {std::string(8'000, '('), "byte 24: more than 24 levels"},
    };
    for (const auto& [text, message] : refused) {
        const auto tree = parse_search(text);
        ASSERT_FALSE(tree) << text;
        EXPECT_EQ(tree.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_NE(tree.error().message().find(message), std::string::npos)
            << text.substr(0, 100) << ": " << tree.error().message();
    }
    std::string many;
    for (std::size_t i = 0; i < kSearchTermsMax; ++i) {
        many += "a ";
    }
    EXPECT_TRUE(parse_search(many));
    EXPECT_NE(parse_search(many + "a").error().message().find("more than 64 terms"),
              std::string::npos);
}

/// Random trees of the shapes that the parser makes.
class Trees {
public:
    explicit Trees(std::uint64_t seed) : random_(seed) {}

    SearchNode tree(std::size_t depth) {
        const auto choice = below(depth == 0 ? 2 : 8);
        if (choice == 0) {
            return {.kind = SearchNode::Kind::kAll};
        }
        if (choice <= 2) {
            return {.kind = SearchNode::Kind::kTerm, .term = term()};
        }
        SearchNode node;
        node.kind = choice <= 4   ? SearchNode::Kind::kNot
                    : choice <= 6 ? SearchNode::Kind::kAnd
                                  : SearchNode::Kind::kOr;
        const auto children = node.kind == SearchNode::Kind::kNot ? 1 : 2 + below(2);
        while (node.children.size() < children) {
            auto child = tree(depth - 1);
            if (child.kind != node.kind || child.kind == SearchNode::Kind::kNot) {
                node.children.push_back(std::move(child));
            }
        }
        return node;
    }

private:
    std::size_t below(std::size_t count) { return random_.next_u64() % count; }

    std::string text(std::string_view letters, std::size_t least) {
        std::string out;
        const auto size = least + below(5);
        while (out.size() < size) {
            out.push_back(letters[below(letters.size())]);
        }
        return below(20) == 0 ? "AND" : below(20) == 0 ? "TO" : out;
    }
    std::string any_text(std::size_t least) { return text("ab1 .-:*\"\\()[]{}<>=/_'\t", least); }

    SearchTerm term() {
        SearchTerm term;
        if (below(3) > 0) {
            term.field = any_text(1);
        }
        term.kind = static_cast<SearchTerm::Kind>(1 + below(term.field.has_value() ? 5 : 2));
        switch (term.kind) {
            case SearchTerm::Kind::kText:
                term.value = any_text(0);
                break;
            case SearchTerm::Kind::kPrefix:
                term.value = text("ab1._", 1);
                break;
            case SearchTerm::Kind::kExists:
                break;
            case SearchTerm::Kind::kRegex:
                term.value = text("ab1 .:*\"()[]{}<>=/_'", 1);
                break;
            case SearchTerm::Kind::kRange: {
                const auto ends = 1 + below(3);
                if (ends & 1U) {
                    term.low = SearchBound{.value = any_text(0), .inclusive = below(2) == 0};
                }
                if (ends & 2U) {
                    term.high = SearchBound{.value = any_text(0), .inclusive = below(2) == 0};
                }
            }
        }
        return term;
    }

    SeededRandom random_;
};

TEST(SearchLanguage, RandomTreesComeBackFromTheirText) {
    const auto seed = test_seed();
    Trees trees(seed);
    int parsed = 0;
    for (int i = 0; i < 20'000; ++i) {
        const auto tree = trees.tree(4);
        const auto text = search_text(tree);
        const auto back = parse_search(text);
        if (!back && back.error().message().find("more than 64 terms") != std::string::npos) {
            continue;
        }
        ASSERT_TRUE(back) << text << "\n" << back.error().message() << "\nseed " << seed;
        ASSERT_EQ(*back, tree) << text << "\n" << search_text(*back) << "\nseed " << seed;
        ++parsed;
    }
    EXPECT_GT(parsed, 19'000);
}

}  // namespace
}  // namespace molesignal
