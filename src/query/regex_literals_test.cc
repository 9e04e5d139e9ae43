// The literals of regular expressions, beside what RE2 matches. MS_TEST_SEED repeats a run.
#include "query/regex_literals.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <gtest/gtest.h>
#include <re2/re2.h>

#include "common/random.h"
#include "index/tokens.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr FieldId kField{1};

std::string needed(std::string_view pattern, RegexMode mode = {}) {
    const auto literals = regex_literals(pattern, mode, kField);
    return literals.needed.has_value()
               ? describe(*literals.needed, [](FieldId) { return std::string("f"); })
               : "nothing";
}

TEST(RegexLiterals, are_what_every_match_has) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"abc", "f contains 'abc'"},
        {"^abc$", "f contains 'abc'"},
        {"\\bab\\.c\\b", "f contains 'ab.c'"},
        {"abc.def", "(f contains 'abc' AND f contains 'def')"},
        {"abc.*def\\d+", "(f contains 'abc' AND f contains 'def')"},
        {"abc|def", "(f contains 'abc' OR f contains 'def')"},
        {"x(abc|def)y", "(f contains 'xabcy' OR f contains 'xdefy')"},
        {"abc|d", "nothing"},
        {"abc|", "nothing"},
        {"(abc|.*)", "nothing"},
        {"(abc.x|def.y|ghi)", "(f contains 'abc' OR f contains 'def' OR f contains 'ghi')"},
        {"ab?c", "(f contains 'abc' OR f contains 'ac')"},
        {"https?://x", "(f contains 'https://x' OR f contains 'http://x')"},
        {"(abc)*def", "f contains 'def'"},
        {"(abc)+def", "(f contains 'abc' AND f contains 'def')"},
        {"(abc){2,}def", "(f contains 'abc' AND f contains 'def')"},
        {"(abc){0,3}def", "f contains 'def'"},
        {"(ab){2}c", "f contains 'ababc'"},
        {"a{3}", "f contains 'aaa'"},
        {"ab{2}c", "f contains 'abbc'"},
        {"ab{,2}c", "f contains 'ab{,2}c'"},
        {"ab{x", "f contains 'ab{x'"},
        {"ab{02}c", "nothing"},
        {"ab+?c", "nothing"},
        {"xyab+?c", "f contains 'xya'"},
        {"/v[12]/", "(f contains '/v1/' OR f contains '/v2/')"},
        {"/v[1-3]/", "f contains '/v'"},
        {"ab[]x]c", "(f contains 'ab]c' OR f contains 'abxc')"},
        {"ab[^]x]cd", "(f contains 'ab' AND f contains 'cd')"},
        {"ab[[:alpha:]]cd", "(f contains 'ab' AND f contains 'cd')"},
        {"ab[[:]cd", "(f contains 'ab' AND f contains 'cd')"},
        {"ab[\\]x]cd", "(f contains 'ab' AND f contains 'cd')"},
        {"ab\\pLcd\\p{Greek}ef", "(f contains 'ab' AND f contains 'cd' AND f contains 'ef')"},
        {"ab\\ncd", "f contains 'ab\ncd'"},
        {"(?i)abc", "f contains in any case 'abc'"},
        {"abc(?i)def", "f contains in any case 'abcdef'"},
        {"(?i:abc).def", "(f contains in any case 'abc' AND f contains 'def')"},
        {"((?i)abc).def", "(f contains in any case 'abc' AND f contains 'def')"},
        {"(?i)abc.(?-i)def", "(f contains in any case 'abc' AND f contains 'def')"},
        {"(?i)abc|def", "(f contains in any case 'abc' OR f contains in any case 'def')"},
        {"(?P<name>abc)(?:def)", "f contains 'abcdef'"},
        {"(?m)^abc$", "f contains 'abc'"},
        {"Stra\xc3\x9f"
         "e?n",
         "(f contains 'Stra\xc3\x9f"
         "en' OR f contains 'Stra\xc3\x9fn')"},
        {"\xc3\x9f+\xc3\x9f", "(f contains '\xc3\x9f' AND f contains '\xc3\x9f')"},
        // Not known, or not certain.
        {"\\Qabc\\E", "nothing"},
        {"\\x41bc", "nothing"},
        {"abc\\101", "nothing"},
        {"abc**", "nothing"},
        {"abc(", "nothing"},
        {"abc[", "nothing"},
        {"abc[\\", "nothing"},
        {"abc\\", "nothing"},
        {"(?", "nothing"},
        {"(?P<", "nothing"},
        {"(?x)abc", "nothing"},
        {"xabc(?i)?def", "nothing"},  // RE2 repeats the c.
        {"abc)", "nothing"},
        {".*", "nothing"},
        {"", "nothing"},
        {"a", "nothing"},
        {std::string(200, '(') + "abc" + std::string(200, ')'), "nothing"},
    };
    for (const auto& [pattern, expected] : cases) {
        EXPECT_EQ(needed(pattern), expected) << pattern;
    }
}

TEST(RegexLiterals, follow_the_options) {
    EXPECT_EQ(needed("abc", {.ignores_case = true}), "f contains in any case 'abc'");
    EXPECT_EQ(needed("a.*c", {.is_literal = true}), "f contains 'a.*c'");
}

TEST(RegexLiterals, are_bounded) {
    std::string many = "wordx0";
    for (int i = 1; i < 65; ++i) {
        many += "|word." + std::to_string(i);
    }
    EXPECT_EQ(needed(many), "nothing");
    // Sixteen ways to begin; the rest is a literal of its own.
    EXPECT_NE(needed("[ab][ab][ab][ab][ab]cde").find("f contains 'acde'"), std::string::npos);
}

TEST(RegexLiterals, of_few_texts_are_the_texts) {
    EXPECT_EQ(regex_literals("a[bc]d?", {}, kField).whole,
              (std::vector<std::string>{"abd", "ab", "acd", "ac"}));
    EXPECT_TRUE(regex_literals("(?i)ab", {}, kField).whole.empty());
    EXPECT_TRUE(regex_literals("ab.", {}, kField).whole.empty());
}

/// Lower case as (?i) has it for the letters of the test.
std::string lowered(std::string_view text) {
    std::string out;
    fold_case(text, out);
    for (const auto& [letter, plain] :
         {std::pair<std::string_view, std::string_view>{"\u017f", "s"}, {"\u212a", "k"}}) {
        for (auto at = out.find(letter); at != std::string::npos; at = out.find(letter, at)) {
            out.replace(at, letter.size(), plain);
        }
    }
    return out;
}

bool holds(const IndexQuery& query, std::string_view text) {
    const auto child_holds = [&](const auto& child) { return holds(child, text); };
    switch (query.kind) {
        case IndexQuery::Kind::kAll:
            return std::ranges::all_of(query.children, child_holds);
        case IndexQuery::Kind::kAny:
            return std::ranges::any_of(query.children, child_holds);
        default:
            return query.ignore_case
                       ? lowered(text).find(lowered(query.texts[0])) != std::string::npos
                       : text.find(query.texts[0]) != std::string_view::npos;
    }
}

/// Random expressions, each with a text that it matches.
class Expressions {
public:
    struct Sample {
        std::string pattern;
        std::string text;
    };
    explicit Expressions(std::uint64_t seed) : random_(seed) {}
    std::uint64_t below(std::uint64_t bound) { return random_.next_u64() % bound; }

    Sample any(int depth) {
        if (depth == 0 || below(4) == 0) {
            return leaf();
        }
        switch (below(8)) {
            case 0: {
                auto left = any(depth - 1);
                auto right = any(depth - 1);
                return {"(?:" + left.pattern + "|" + right.pattern + ")",
                        below(2) == 0 ? left.text : right.text};
            }
            case 1: {
                const auto inner = any(depth - 1);
                static const std::vector<std::string> signs = {
                    "*", "+", "?", "*?", "+?", "{1}", "{0,2}", "{1,3}", "{2}", "{2,}"};
                const auto sign = below(signs.size());
                auto count = sign >= 8                                          ? 2
                             : sign == 1 || sign == 4 || sign == 5 || sign == 7 ? 1
                                                                                : below(2);
                std::string text;
                for (; count > 0; --count) {
                    text += inner.text;
                }
                return {"(" + inner.pattern + ")" + signs[sign], text};
            }
            case 2: {
                const auto inner = any(depth - 1);
                return {"(?i:" + inner.pattern + ")", flipped(inner.text)};
            }
            case 3: {
                const auto inner = any(depth - 1);
                return {"((?i)" + inner.pattern + ")", flipped(inner.text)};
            }
            default: {
                auto left = any(depth - 1);
                const auto right = any(depth - 1);
                return {left.pattern + right.pattern, left.text + right.text};
            }
        }
    }

    std::string noise() {
        static const std::vector<std::string> pieces = {
            "a",    "b",   "(",    ")",   "[",   "]",      "{",  "}",     "\\",  "^",   "$",
            ".",    "|",   "?",    "*",   "+",   "i",      ":",  "-",     ",",   "0",   "2",
            "P<",   ">",   "(?i)", "[:",  ":]",  "\u00df", "ab", "\\d",   "\\Q", "\\E", "\\x41",
            "\\pL", "{2}", "{1,}", "(?:", "(?s", "\\b",    "k",  "\u212a"};
        std::string text;
        for (auto left = below(12) + 1; left > 0; --left) {
            text += pieces[below(pieces.size())];
        }
        return text;
    }

private:
    Sample leaf() {
        static const std::vector<Sample> leaves = {
            {"abc", "abc"},     {"k", "k"},
            {"sk", "sk"},       {"\u00dcber", "\u00dcber"},
            {".", "x"},         {"\\d+", "42"},
            {"[ab]", "b"},      {"[^ab]", "z"},
            {"[a-c]x", "bx"},   {"\\.", "."},
            {"\\b", ""},        {"(?:)", ""},
            {"\\w", "q"},       {"[[:digit:]]", "7"},
            {"error", "error"}, {"time ?out", "time out"},
            {"[\\]x]", "]"},    {"\\pL", "\u00e9"},
            {"\\s", " "},       {"\u65e5\u672c", "\u65e5\u672c"},
        };
        return leaves[below(leaves.size())];
    }
    /// Some letters in their other case, as (?i) has them.
    std::string flipped(const std::string& text) {
        std::string out;
        for (const char byte : text) {
            if (byte == 'k' && below(3) == 0) {
                out += "\u212a";
            } else if (byte == 's' && below(3) == 0) {
                out += "\u017f";
            } else if (byte >= 'a' && byte <= 'z' && below(2) == 0) {
                out += static_cast<char>(byte - 'a' + 'A');
            } else {
                out += byte;
            }
        }
        return out;
    }
    SeededRandom random_;
};

/// A hundred times as many if MS_TEST_FULL is set.
int rounds(int count) {
    return std::getenv("MS_TEST_FULL") != nullptr ? 100 * count : count;
}

void check(const std::string& pattern, const std::string& text, int& matched, int& told) {
    RE2::Options options;
    options.set_log_errors(false);
    const RE2 regex(pattern, options);
    const auto literals = regex_literals(pattern, {}, kField);
    if (!regex.ok()) {
        return;
    }
    told += literals.needed.has_value() ? 1 : 0;
    if (RE2::PartialMatch(text, regex)) {
        ++matched;
        EXPECT_TRUE(!literals.needed || holds(*literals.needed, text))
            << "'" << pattern << "' matches '" << text << "' without " << needed(pattern);
    }
    if (!literals.whole.empty() && RE2::FullMatch(text, regex)) {
        EXPECT_TRUE(std::ranges::find(literals.whole, text) != literals.whole.end())
            << "'" << pattern << "' is not known to be '" << text << "'";
    }
}

TEST(RegexLiterals, every_text_that_matches_has_them) {
    Expressions expressions(test_seed());
    int matched = 0;
    int told = 0;
    for (int i = 0; i < rounds(4'000); ++i) {
        const auto sample = expressions.any(4);
        check(sample.pattern, sample.text, matched, told);
        check(sample.pattern, "x" + sample.text + " y", matched, told);
        check(sample.pattern, expressions.any(3).text, matched, told);
    }
    EXPECT_GT(matched, 4'000);
    EXPECT_GT(told, 4'000);
}

TEST(RegexLiterals, of_any_bytes_are_certain_or_none) {
    Expressions expressions(test_seed() + 1);
    int matched = 0;
    int told = 0;
    for (int i = 0; i < rounds(20'000); ++i) {
        const auto pattern = expressions.noise();
        check(pattern, expressions.noise(), matched, told);
        // Often its own match.
        check(pattern, pattern, matched, told);
    }
    EXPECT_GT(told, 1'000);
    EXPECT_GT(matched, 1'000);
}

}  // namespace
}  // namespace molesignal
