#include "query/sql/kernels/like_pattern.h"

#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

bool like(std::string_view text, std::string_view pattern, std::string_view escape = "") {
    const auto parsed = LikePattern::parse(pattern, escape);
    EXPECT_TRUE(parsed);
    return parsed && parsed->matches(text, [](std::uint64_t) {});
}

/// The meaning of LIKE, by trying everything.
bool like_slowly(std::u32string_view text, std::u32string_view pattern) {
    if (pattern.empty()) {
        return text.empty();
    }
    if (pattern[0] == U'%') {
        return like_slowly(text, pattern.substr(1)) ||
               (!text.empty() && like_slowly(text.substr(1), pattern));
    }
    return !text.empty() && (pattern[0] == U'_' || pattern[0] == text[0]) &&
           like_slowly(text.substr(1), pattern.substr(1));
}

TEST(LikePattern, Examples) {
    EXPECT_TRUE(like("", ""));
    EXPECT_TRUE(like("", "%"));
    EXPECT_FALSE(like("", "_"));
    EXPECT_TRUE(like("abc", "a%c"));
    EXPECT_TRUE(like("abc", "a__"));
    EXPECT_FALSE(like("abc", "a_"));
    EXPECT_TRUE(like("abcabc", "%b_a%"));
    EXPECT_TRUE(like("aab", "%_ab"));
    EXPECT_FALSE(like("ab", "%__ab"));
    EXPECT_FALSE(like("aba", "ab%ba")) << "the ends may not overlap";
    EXPECT_TRUE(like("a%b", "a!%b", "!"));
    EXPECT_FALSE(like("axb", "a!%b", "!"));
    EXPECT_TRUE(like("a!", "a!!", "!"));
    EXPECT_TRUE(like("\u65e5\u672c", "__"));
    EXPECT_TRUE(like("x\u65e5", "%_"));
    EXPECT_FALSE(LikePattern::parse("a!", "!"));
    EXPECT_FALSE(LikePattern::parse("a", "!!"));
}

TEST(LikePattern, AgreesWithTryingEverything) {
    SeededRandom random(test_seed());
    const std::u32string letters = U"ab\u00fc\u65e5";
    const std::vector<std::string> encoded = {"a", "b", "\u00fc", "\u65e5"};
    for (int round = 0; round < 20'000; ++round) {
        std::u32string text;
        std::string text_bytes;
        for (auto i = random.next_u64() % 9; i > 0; --i) {
            const auto letter = random.next_u64() % letters.size();
            text += letters[letter];
            text_bytes += encoded[letter];
        }
        std::u32string pattern;
        std::string pattern_bytes;
        for (auto i = random.next_u64() % 7; i > 0; --i) {
            const auto choice = random.next_u64() % (letters.size() + 3);
            if (choice < letters.size()) {
                pattern += letters[choice];
                pattern_bytes += encoded[choice];
            } else {
                const char wild = choice == letters.size() ? '_' : '%';
                pattern += static_cast<char32_t>(wild);
                pattern_bytes += wild;
            }
        }
        ASSERT_EQ(like(text_bytes, pattern_bytes), like_slowly(text, pattern))
            << text_bytes << " LIKE " << pattern_bytes;
    }
}

TEST(LikePattern, TellsOfItsWork) {
    const auto pattern = LikePattern::parse("%a_a%b", "");
    ASSERT_TRUE(pattern);
    std::uint64_t work = 0;
    EXPECT_FALSE(pattern->matches(std::string(100'000, 'x'), [&](auto steps) { work += steps; }));
    EXPECT_GE(work, 100'000U);
    EXPECT_LE(work, 1'000'000U);
    struct Enough {};
    EXPECT_THROW(pattern->matches(std::string(100'000, 'x'), [](auto) { throw Enough(); }), Enough);
}

}  // namespace
}  // namespace molesignal
