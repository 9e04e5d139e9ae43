#include "query/sql/sql_guard.h"

#include <duckdb.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

/// Statements that are refused one by one are in tests/scenario/store/guard.txt.
class SqlGuard : public ::testing::Test {
protected:
    Result<std::string> guard(const std::string& statement) {
        tables_.clear();
        auto select = guard_statement(
            statement, {}, [this](const GuardedTable& table) -> Result<TableReplacement> {
                tables_.push_back(table);
                return TableReplacement{.subquery = "SELECT 1 AS n, 'x' AS body",
                                        .full_text_columns = {"body"}};
            });
        if (!select) {
            return std::move(select).error();
        }
        return (*select)->ToString();
    }
    std::string refusal(const std::string& statement) {
        const auto guarded = guard(statement);
        return guarded ? "allowed" : guarded.error().message();
    }
    static std::string repeated(const std::string& text, int times) {
        std::string out;
        for (int i = 0; i < times; ++i) {
            out += text;
        }
        return out;
    }

    std::vector<GuardedTable> tables_;
};

TEST_F(SqlGuard, DepthIsBoundedBeforeTheParserRecurses) {
    EXPECT_NE(refusal("SELECT " + repeated("(", 1000) + "1" + repeated(")", 1000)).find("deeper"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT " + repeated("[", 1000) + repeated("]", 1000)).find("deeper"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT " + repeated("{'a':", 200) + "1" + repeated("}", 200)).find("deeper"),
              std::string::npos);
    EXPECT_NE(
        refusal(repeated("SELECT * FROM (", 200) + "SELECT 1" + repeated(")", 200)).find("deeper"),
        std::string::npos);
    // No brackets: the tree itself is deep.
    EXPECT_NE(refusal("SELECT 1" + repeated("+1", 900)).find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT " + repeated("CASE WHEN 1=1 THEN ", 300) + "1" +
                      repeated(" ELSE 0 END", 300))
                  .find("deeper"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT " + repeated("- ", 300) + "n").find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT " + repeated("NOT ", 300) + "n").find("deeper"), std::string::npos);
    // As long as a statement may be: the parser itself must survive it.
    for (const auto* text : {"NOT ", "- ", "1+", "1 OR ", "x.", "a AND ", "'a' || ", "~ "}) {
        const auto times = static_cast<int>(65'000 / std::string_view(text).size());
        EXPECT_NE(refusal("SELECT " + repeated(text, times) + "n"), "allowed") << text;
    }
    EXPECT_NE(refusal("SELECT n" + repeated("::INT", 12'000)), "allowed");
    EXPECT_NE(refusal("SELECT n" + repeated(" IS NULL", 8'000)), "allowed");
    EXPECT_NE(refusal(repeated("FROM ", 13'000)), "allowed");
    EXPECT_EQ(refusal("SELECT " + repeated("(", 50) + "1" + repeated(")", 50)), "allowed");
    EXPECT_EQ(refusal("SELECT '" + repeated("(", 1000) + "'"), "allowed") << "a quoted text";
}

TEST_F(SqlGuard, SizeIsBounded) {
    EXPECT_NE(refusal("SELECT '" + std::string(70'000, 'x') + "'").find("65536"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1 WHERE 1 = 1" + repeated(" OR 1 = 2", 3000)).find("2000 terms"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1" + repeated(", 1", 3000)).find("2000 terms"), std::string::npos);
    std::string unions = "SELECT 1" + repeated(" UNION ALL SELECT 1", 500);
    EXPECT_NE(refusal(unions).find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT 1 FROM logs.a" + repeated(" JOIN logs.a USING (n)", 17))
                  .find("more than 16 joins"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1 FROM logs.a" + repeated(", logs.a", 17)).find("more than 16 joins"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1 GROUP BY CUBE (1, 2, 3, 4, 5, 6, 7, 8)").find("grouping sets"),
              std::string::npos);
    EXPECT_NE(refusal(std::string("SELECT 1\0; DROP", 15)).find("NUL"), std::string::npos);
}

TEST_F(SqlGuard, OurFunctionsAreRewritten) {
    const auto histogram = guard("SELECT histogram(_timestamp, '5m') AS t FROM logs.app");
    ASSERT_TRUE(histogram);
    EXPECT_NE(histogram->find("time_bucket(CAST('5 minutes' AS INTERVAL), _timestamp) AS t"),
              std::string::npos)
        << *histogram;
    const auto all = guard("SELECT n FROM logs.app WHERE match_all('x')");
    ASSERT_TRUE(all);
    EXPECT_NE(all->find("ms_match(concat_ws("), std::string::npos) << *all;
    EXPECT_NE(refusal("SELECT match_all('x')").find("exactly one stream"), std::string::npos);
    EXPECT_NE(refusal("SELECT 1 FROM logs.a, logs.b WHERE match_all('x')").find("exactly one"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT match(body, body) FROM logs.a").find("string in quotes"),
              std::string::npos);
}

TEST_F(SqlGuard, NamesOfWithQueriesHideStreams) {
    ASSERT_EQ(refusal("WITH app AS (SELECT 1 AS n) SELECT n FROM app"), "allowed");
    EXPECT_TRUE(tables_.empty());
    ASSERT_EQ(refusal("WITH app AS (SELECT 1 AS n) SELECT n FROM logs.app"), "allowed");
    EXPECT_EQ(tables_.size(), 1U);
    ASSERT_EQ(refusal("SELECT (WITH app AS (SELECT 1 AS n) SELECT n FROM app) FROM app"),
              "allowed");
    EXPECT_EQ(tables_.size(), 1U) << "the name ends with its query";
}

}  // namespace
}  // namespace molesignal
