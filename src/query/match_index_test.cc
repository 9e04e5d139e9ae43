// `match` by the index: the rows that TextMatch finds by looking at each.
#include <gmock/gmock.h>

#include "common/random.h"
#include "index/sidecar_fixture.h"
#include "query/text_match.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr FieldId kBody{1};

TEST(MatchIndex, finds_the_rows_that_match) {
    SeededRandom random(test_seed());
    const auto pick = [&](const std::vector<std::string>& from) {
        return from[random.next_u64() % from.size()];
    };
    const std::vector<std::string> words = {"error",
                                            "Error_code",
                                            "12345",
                                            "fade1",
                                            "42",
                                            "\u00dcber",
                                            "a",
                                            "b",
                                            std::string(70, 'q'),
                                            "refused",
                                            "ref",
                                            "\xc3"};
    const std::vector<std::string> gaps = {" ", "-", "  ", "\x1e", ": "};
    TestColumn body{.id = kBody.value, .is_text = true};
    constexpr std::uint32_t kRows = 3'000;
    for (std::uint32_t row = 0; row < kRows; ++row) {
        std::string text;
        for (auto left = random.next_u64() % 6; left > 0; --left) {
            text += pick(words) + pick(gaps);
        }
        body.values.emplace_back(std::move(text));
        if (random.next_u64() % 10 == 0) {
            body.values.back().reset();
        }
    }
    OpenSidecar sidecar(make_sidecar({body}, kRows));
    int exact = 0;
    for (int round = 0; round < 500; ++round) {
        std::string query;
        for (auto left = random.next_u64() % 3 + 1; left > 0; --left) {
            query += random.next_u64() % 3 == 0 ? "-" : "";
            switch (random.next_u64() % 3) {
                case 0:
                    query += "\"" + pick(words) + " " + pick(words) + "\" ";
                    break;
                case 1:
                    query += pick(words).substr(0, 3) + "* ";
                    break;
                default:
                    query += pick(words) + " ";
            }
        }
        const auto match = TextMatch::parse(query);
        ASSERT_TRUE(match);
        const auto selection = sidecar.select(match->index_query(kBody));
        std::vector<std::uint32_t> expected;
        for (std::uint32_t row = 0; row < kRows; ++row) {
            if (body.values[row] && match->matches(*body.values[row])) {
                expected.push_back(row);
            }
        }
        const auto truth = RowSet::from_list(kRows, expected);
        ASSERT_EQ(selection.exact ? selection.rows : selection.rows.intersected(truth), truth)
            << query;
        exact += selection.exact ? 1 : 0;
    }
    EXPECT_GT(exact, 50);
}

TEST(MatchIndex, words_to_leave_out_do_not_find_rows_without_a_text) {
    TestColumn body{.id = kBody.value, .is_text = true, .values = {"a b", std::nullopt, "c"}};
    OpenSidecar sidecar(make_sidecar({body}, 3));
    const auto selection = sidecar.select(TextMatch::parse("-b")->index_query(kBody));
    EXPECT_TRUE(selection.exact);
    EXPECT_THAT(selection.rows.to_list(), testing::ElementsAre(2));
}

}  // namespace
}  // namespace molesignal
