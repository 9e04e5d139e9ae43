// Random parts and random queries, against an evaluation that looks at every value. MS_TEST_SEED
// repeats a run.
#include <algorithm>

#include <gmock/gmock.h>

#include "common/random.h"
#include "index/sidecar_fixture.h"
#include "index/tokens.h"
#include "index/value_lookup.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::int32_t kText = 1;
constexpr std::int32_t kFew = 2;
constexpr std::int32_t kMany = 3;
constexpr std::int32_t kAbsent = 9;

class Corpus {
public:
    explicit Corpus(std::uint64_t seed) : random_(seed) {}
    std::uint64_t below(std::uint64_t bound) { return random_.next_u64() % bound; }

    std::string word() {
        static const std::vector<std::string> words = {"error",
                                                       "failed",
                                                       "Fade",
                                                       "cafe1",
                                                       "connection",
                                                       "refused",
                                                       "Disk",
                                                       "\u00dcber",
                                                       "\u041f\u0440\u0438\u0432\u0435\u0442",
                                                       "dis\u212a",
                                                       "i\u0130x",
                                                       "mi\u017fs",
                                                       "\u65e5\u672c",
                                                       "a",
                                                       "_x_9",
                                                       "task"};
        switch (below(12)) {
            case 0:
                return std::to_string(below(100));
            case 1:
                return std::to_string(below(100'000'000));
            case 2:
                return "deadbeef0" + std::to_string(below(1'000));
            case 3:
                return std::string(60 + below(10), static_cast<char>('a' + below(2)));
            case 4: {
                std::string bytes(1 + below(6), ' ');
                for (auto& byte : bytes) {
                    byte = static_cast<char>(random_.next_u64());
                }
                return bytes;
            }
            case 5:
                return "w" + std::to_string(below(3'000));
            default:
                return words[below(words.size())];
        }
    }
    std::string text() {
        static const std::vector<std::string> templates = {
            "Connection refused by {} after {} attempts",
            "user {} logged in",
            "{}\x1e{}",
            "",
            "disk {} full: {} of {} bytes",
            "{} {} {}",
            "GET /api/v1/orders/{} took {} us"};
        std::string text;
        for (const char byte : templates[below(templates.size())]) {
            if (byte == '{') {
                text += word();
            } else if (byte != '}') {
                text += byte;
            }
        }
        return text;
    }
    std::vector<std::optional<std::string>> column(std::int32_t field, std::uint32_t rows) {
        std::vector<std::optional<std::string>> values;
        const auto nulls = below(4) == 0 ? 2 : 20;
        for (std::uint32_t row = 0; row < rows; ++row) {
            if (nulls != 20 && below(nulls) == 0) {
                values.emplace_back();
            } else if (field == kText) {
                values.emplace_back(text());
            } else if (field == kFew) {
                values.emplace_back(row < rows / 2 ? "Info  level" : word().substr(0, 3) + "few");
            } else {
                values.emplace_back("id-" + std::to_string(below(std::uint64_t{rows} * 4)));
            }
        }
        return values;
    }
    /// Half of the time something of a value.
    std::string probe(const TestColumn& column) {
        const auto& value =
            column.values.empty() ? std::nullopt : column.values[below(column.values.size())];
        if (!value || value->empty() || below(3) == 0) {
            return word();
        }
        const auto begin = below(value->size());
        return value->substr(begin, 1 + below(20));
    }

    IndexQuery query(const std::vector<TestColumn>& columns, int depth) {
        if (depth > 0 && below(3) == 0) {
            std::vector<IndexQuery> children;
            for (auto i = below(4); i > 0; --i) {
                children.push_back(query(columns, depth - 1));
            }
            switch (below(4)) {
                case 0:
                    return IndexQuery::any(std::move(children));
                case 1:
                    return IndexQuery::negation(query(columns, depth - 1));
                default:
                    return IndexQuery::all(std::move(children));
            }
        }
        const auto& column = columns[below(columns.size())];
        const FieldId field{below(30) == 0 ? kAbsent : column.id};
        std::string folded;
        fold_case(probe(column), folded);
        auto tokens = tokens_of(folded);
        switch (below(8)) {
            case 0:
                return IndexQuery::present(field);
            case 7:
                return passing(field, probe(column));
            case 1:
                return IndexQuery::equals(field, exact_probe(column));
            case 2:
                return IndexQuery::one_of(field, {exact_probe(column), exact_probe(column)});
            case 3:
                return IndexQuery::contains(field, probe(column), below(2) == 0);
            default:
                break;
        }
        if (tokens.empty()) {
            tokens.emplace_back("refused");
        }
        auto phrase = IndexQuery::phrase(field, std::move(tokens));
        phrase.last_is_prefix = below(3) == 0;
        return phrase;
    }

private:
    /// Passed by values with `literal`; of some values the test does not know.
    static IndexQuery passing(FieldId field, const std::string& literal) {
        const auto test = [literal](std::string_view value) -> std::optional<bool> {
            if (value.size() % 7 == 3) {
                return std::nullopt;
            }
            return value.find(literal) != std::string_view::npos;
        };
        auto query =
            IndexQuery::passing(field, test, {IndexQuery::contains(field, literal, false)});
        query.texts = {literal};  // For the look at every row.
        return query;
    }
    std::string exact_probe(const TestColumn& column) {
        const auto& value =
            column.values.empty() ? std::nullopt : column.values[below(column.values.size())];
        return value && below(4) != 0 ? *value : word();
    }
    SeededRandom random_;
};

/// Lower case as ILIKE and (?i) have it for the letters of the corpus.
std::string lowered(std::string_view text) {
    std::string out;
    fold_case(text, out);
    const std::vector<std::pair<std::string_view, std::string_view>> odd = {
        {"\u0130", "i"}, {"\u017f", "s"}, {"\u212a", "k"}};
    for (const auto& [letter, plain] : odd) {
        for (auto at = out.find(letter); at != std::string::npos; at = out.find(letter, at)) {
            out.replace(at, letter.size(), plain);
        }
    }
    return out;
}

bool holds(const IndexQuery& query, const std::vector<TestColumn>& columns, std::uint32_t row) {
    const auto child_holds = [&](const auto& child) { return holds(child, columns, row); };
    switch (query.kind) {
        case IndexQuery::Kind::kAll:
            return std::ranges::all_of(query.children, child_holds);
        case IndexQuery::Kind::kAny:
            return std::ranges::any_of(query.children, child_holds);
        case IndexQuery::Kind::kNot:
            return !child_holds(query.children[0]);
        default:
            break;
    }
    const auto column = std::ranges::find(columns, query.field.value, &TestColumn::id);
    if (column == columns.end() || !column->values[row]) {
        return false;
    }
    const auto& value = *column->values[row];
    switch (query.kind) {
        case IndexQuery::Kind::kPhrase:
            return has_phrase(value, query.texts, query.last_is_prefix);
        case IndexQuery::Kind::kEquals:
            return std::ranges::find(query.texts, value) != query.texts.end();
        case IndexQuery::Kind::kNeeds:
            return value.find(query.texts[0]) != std::string::npos;
        case IndexQuery::Kind::kContains:
            return query.ignore_case
                       ? lowered(value).find(lowered(query.texts[0])) != std::string::npos
                       : value.find(query.texts[0]) != std::string::npos;
        default:
            return true;
    }
}

std::string describe(const IndexQuery& query) {
    std::string text = "(" + std::to_string(static_cast<int>(query.kind)) + " field " +
                       std::to_string(query.field.value) + (query.last_is_prefix ? " prefix" : "") +
                       (query.ignore_case ? " any case" : "");
    for (const auto& each : query.texts) {
        text += " '" + each + "'";
    }
    for (const auto& child : query.children) {
        text += " " + describe(child);
    }
    return text + ")";
}

class SidecarRandom : public testing::TestWithParam<std::uint32_t> {};

TEST_P(SidecarRandom, answers_as_a_look_at_every_row) {
    const auto rows = GetParam();
    Corpus corpus(test_seed() + rows);
    std::vector<TestColumn> columns;
    for (const auto id : {kText, kFew, kMany}) {
        columns.push_back({.id = id, .is_text = id == kText, .values = corpus.column(id, rows)});
    }
    OpenSidecar sidecar(make_sidecar(columns, rows));
    ASSERT_EQ(sidecar.reader.rows(), rows);
    const int queries = rows > 10'000 ? 60 : 400;
    int exact = 0;
    for (int i = 0; i < queries; ++i) {
        const auto query = corpus.query(columns, 2);
        SCOPED_TRACE(describe(query));
        const auto selection = sidecar.select(query);
        std::vector<std::uint32_t> expected;
        for (std::uint32_t row = 0; row < rows; ++row) {
            if (holds(query, columns, row)) {
                expected.push_back(row);
            }
        }
        const auto truth = RowSet::from_list(rows, expected);
        if (selection.exact) {
            ++exact;
            ASSERT_EQ(selection.rows, truth);
        } else {
            ASSERT_EQ(selection.rows.intersected(truth), truth);
        }
        const auto count = *sidecar.reader.count(sidecar.source, query, sidecar.stats);
        ASSERT_TRUE(count.exact ? count.rows == truth.count() : count.rows >= truth.count());
    }
    EXPECT_GT(exact, queries / 10);
}

TEST(SidecarRandomWords, independent_common_words_have_lists_of_their_own) {
    // More distinct sets of words than patterns may be, and more postings than one batch takes.
    SeededRandom random(test_seed());
    constexpr std::uint32_t kRows = 90'000;
    TestColumn text{.id = kText, .is_text = true};
    std::vector<std::vector<std::uint32_t>> rows_of(100);
    for (std::uint32_t row = 0; row < kRows; ++row) {
        std::string value;
        for (int i = 0; i < 80; ++i) {
            const auto word = random.next_u64() % rows_of.size();
            value += "word" + std::to_string(word) + " ";
            if (rows_of[word].empty() || rows_of[word].back() != row) {
                rows_of[word].push_back(row);
            }
        }
        text.values.emplace_back(std::move(value));
    }
    OpenSidecar sidecar(make_sidecar({text}, kRows));
    EXPECT_EQ(sidecar.reader.fields()[0].text.patterns, 0U);
    for (std::size_t word = 0; word < rows_of.size(); word += 7) {
        const auto selection =
            sidecar.select(IndexQuery::token(FieldId{kText}, "word" + std::to_string(word)));
        EXPECT_TRUE(selection.exact);
        EXPECT_EQ(selection.rows, RowSet::from_list(kRows, rows_of[word])) << word;
    }
}

INSTANTIATE_TEST_SUITE_P(Rows,
                         SidecarRandom,
                         testing::Values(0U,
                                         1U,
                                         2U,
                                         63U,
                                         64U,
                                         255U,
                                         256U,
                                         257U,
                                         2'047U,
                                         2'048U,
                                         2'049U,
                                         5'000U,
                                         65'535U,
                                         65'536U,
                                         65'537U));

}  // namespace
}  // namespace molesignal
