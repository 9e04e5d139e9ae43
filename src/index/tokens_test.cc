#include "index/tokens.h"

#include <gmock/gmock.h>

#include "common/random.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string folded(std::string_view text) {
    std::string out;
    fold_case(text, out);
    return out;
}

std::vector<std::string> scanned(TokenScanner& scanner, std::string_view text) {
    std::vector<std::string> tokens;
    for (std::size_t i = 0, count = scanner.scan(text); i < count; ++i) {
        tokens.emplace_back(scanner.token(i));
    }
    return tokens;
}

TEST(Tokens, letters_are_folded) {
    EXPECT_EQ(folded("Hello World_9"), "hello world_9");
    EXPECT_EQ(folded("\u00dcber \u00d7 \u00de"), "\u00fcber \u00d7 \u00fe");
    EXPECT_EQ(folded("\u0391\u03a9 \u0410\u042f \u0400\u040f"),
              "\u03b1\u03c9 \u0430\u044f \u0450\u045f");
    EXPECT_EQ(folded("\u65e5\u672c \U0001f600"), "\u65e5\u672c \U0001f600");
}

TEST(Tokens, a_lead_byte_takes_only_a_continuation_byte) {
    EXPECT_EQ(folded("\xc3"
                     "A"),
              "\xc3"
              "a");
    EXPECT_EQ(folded("\xd0 X"), "\xd0 x");
    EXPECT_EQ(folded("\xc3\xc3\x84"), "\xc3\xc3\xa4");
    EXPECT_EQ(folded("\xc3"), "\xc3");
}

TEST(Tokens, are_runs_of_letters_digits_and_underscores) {
    EXPECT_THAT(tokens_of("a-b c_d  9.e"), ElementsAre("a", "b", "c_d", "9", "e"));
    EXPECT_THAT(tokens_of(" .\x1e"), IsEmpty());
    std::size_t at = 1;
    EXPECT_FALSE(
        next_token("a\x1e"
                   "b",
                   at));
    at = 1;
    EXPECT_TRUE(next_token("a b", at));
    EXPECT_EQ(at, 2U);
}

TEST(Tokens, ids_and_long_numbers_are_hashed) {
    for (const auto* token : {"12345", "abcd1", "0a1b2c3d4e5f", "00000"}) {
        EXPECT_TRUE(is_hashed_token(token)) << token;
    }
    for (const auto* token : {"1234", "abcde", "defaced", "12345g", "0x1234", "", "\u0661\u0662"}) {
        EXPECT_FALSE(is_hashed_token(token)) << token;
    }
    EXPECT_TRUE(is_hex_text("") && is_hex_text("fade") && is_hex_text("12"));
    EXPECT_FALSE(is_hex_text("fail"));
}

TEST(Tokens, the_scanner_finds_what_the_rules_say) {
    SeededRandom random(test_seed());
    TokenScanner scanner;
    const std::string_view letters = "aZ09_ .-\x1e\xc3\x84\xa4\xd0\x90\xff\x80@[`{/:";
    for (int round = 0; round < 20'000; ++round) {
        std::string text(random.next_u64() % (round % 7 == 0 ? 300 : 70), ' ');
        for (auto& byte : text) {
            byte = letters[random.next_u64() % letters.size()];
            if (random.next_u64() % 8 == 0) {
                byte = static_cast<char>(random.next_u64());
            }
        }
        ASSERT_EQ(scanned(scanner, text), tokens_of(folded(text))) << "round " << round;
        ASSERT_EQ(folded(folded(text)), folded(text)) << "round " << round;
    }
    EXPECT_THAT(scanned(scanner, std::string(64, 'a')), ElementsAre(std::string(64, 'a')));
    EXPECT_THAT(scanned(scanner, ""), IsEmpty());
}

TEST(Tokens, every_byte_is_judged_alike) {
    TokenScanner scanner;
    for (int byte = 0; byte < 256; ++byte) {
        const std::string text(1, static_cast<char>(byte));
        EXPECT_EQ(scanner.scan(text), is_token_byte(text[0]) ? 1U : 0U) << byte;
    }
}

}  // namespace
}  // namespace molesignal
