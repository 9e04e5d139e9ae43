#include "query/sql/guard/sql_guard.h"

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
        auto guarded = guard_statement(
            statement, limits_, [this](const GuardedTable& table) -> Result<TableReplacement> {
                tables_.push_back(table);
                return TableReplacement{
                    .subquery =
                        "SELECT now() AS _timestamp, 1 AS n, 'x' AS body, 5::SMALLINT AS "
                        "_timestamp_nanos",
                    .columns = columns_,
                    .scanned_columns = columns_,
                    .full_text_columns = {"body"}};
            });
        if (!guarded) {
            return std::move(guarded).error();
        }
        guarded_ = std::move(*guarded);
        return guarded_.statement->ToString();
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

    GuardLimits limits_;
    std::size_t columns_ = 4;
    std::vector<GuardedTable> tables_;
    GuardedStatement guarded_;
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
    EXPECT_NE(refusal("SELECT 1 FROM logs.a" + repeated(" JOIN logs.a USING (n)", 13))
                  .find("more than 12 joins"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1 FROM logs.a" + repeated(", logs.a", 13)).find("more than 12 joins"),
              std::string::npos);
    EXPECT_NE(refusal("SELECT 1 FROM logs.a WHERE true" +
                      repeated(" AND n IN (SELECT n FROM logs.a)", 13))
                  .find("subqueries"),
              std::string::npos);
    EXPECT_NE(
        refusal("SELECT 1" + repeated(" UNION ALL SELECT n FROM logs.a", 65)).find("64 times"),
        std::string::npos);
    EXPECT_NE(refusal("SELECT \"" + std::string(5'000, 'x') + "\" FROM logs.a").find("4096"),
              std::string::npos);
    EXPECT_NE(
        refusal("SELECT * EXCLUDE (\"" + std::string(5'000, 'x') + "\") FROM logs.a").find("4096"),
        std::string::npos);
    EXPECT_NE(refusal("SELECT 1 GROUP BY CUBE (1, 2, 3, 4, 5, 6, 7, 8)").find("grouping sets"),
              std::string::npos);
    EXPECT_NE(refusal(std::string("SELECT 1\0; DROP", 15)).find("NUL"), std::string::npos);
}

TEST_F(SqlGuard, ColumnsOfAllStarsAreCounted) {
    limits_.columns_max = 50'000;
    columns_ = 1'200;
    EXPECT_EQ(refusal("SELECT * FROM logs.a"), "allowed");
    EXPECT_EQ(refusal("SELECT a.*, b.* FROM logs.a JOIN logs.b USING (n)"), "allowed");
    EXPECT_EQ(refusal(repeated("SELECT * FROM (", 30) + "SELECT * FROM logs.a" + repeated(")", 30)),
              "allowed");
    EXPECT_NE(refusal(repeated("SELECT * FROM (", 45) + "SELECT * FROM logs.a" + repeated(")", 45))
                  .find("50000 columns"),
              std::string::npos);
    columns_ = 10;
    EXPECT_EQ(refusal("SELECT *, * FROM (SELECT *, * FROM logs.a)"), "allowed");
    EXPECT_NE(
        refusal(repeated("SELECT *,* FROM (", 12) + "SELECT * FROM logs.a" + repeated(")", 12))
            .find("50000 columns"),
        std::string::npos);
    EXPECT_NE(
        refusal(repeated("SELECT *,* FROM (", 45) + "SELECT * FROM logs.a" + repeated(")", 45))
            .find("50000 columns"),
        std::string::npos);
    std::string ctes = "WITH c0 AS (SELECT * FROM logs.a)";
    for (int i = 1; i < 30; ++i) {
        ctes += fmt::format(", c{} AS (SELECT a.*, b.* FROM c{} a, c{} b)", i, i - 1, i - 1);
        if (i == 8) {
            EXPECT_EQ(refusal(ctes + " SELECT 1 FROM c3"), "allowed");
        }
    }
    EXPECT_NE(refusal(ctes + " SELECT 1 FROM c3"), "allowed") << "also where nobody reads them";
}

TEST_F(SqlGuard, TypesOfStructsDoNotGrowExponentially) {
    limits_.columns_max = 50'000;
    const auto doubled = [](int levels, const char* expression) {
        return repeated(fmt::format("SELECT {} AS x FROM (", expression), levels) +
               "SELECT n AS x FROM logs.a" + repeated(")", levels);
    };
    for (const auto* expression : {"{'a': x, 'b': x}",
                                   "struct_pack(a := x, b := x)",
                                   "row(x, x)",
                                   "[{'a': x, 'b': x}]",
                                   "CASE WHEN true THEN {'a': x, 'b': x} END"}) {
        EXPECT_EQ(refusal(doubled(8, expression)), "allowed") << expression;
        EXPECT_NE(refusal(doubled(16, expression)).find("member of a struct"), std::string::npos)
            << expression;
        EXPECT_NE(refusal(doubled(45, expression)).find("member of a struct"), std::string::npos)
            << expression;
    }
    EXPECT_EQ(refusal(doubled(30, "[x, x]")), "allowed") << "a list's type does not double";
    EXPECT_EQ(refusal(doubled(30, "x + x")), "allowed");
}

TEST_F(SqlGuard, WithQueriesAreNeverCopied) {
    const auto guarded =
        guard("WITH w AS NOT MATERIALIZED (SELECT * FROM logs.a) FROM w UNION ALL FROM w");
    ASSERT_TRUE(guarded);
    EXPECT_EQ(guarded->find("MATERIALIZED"), std::string::npos) << *guarded;
}

TEST_F(SqlGuard, WithQueriesInsideEachOtherAreBoundedBeforeTheParserCopiesThem) {
    const auto nested = [](int levels) {
        std::string statement = "SELECT n FROM logs.a";
        for (int i = 0; i < levels; ++i) {
            statement = fmt::format("WITH c{} AS ({}) SELECT * FROM c{}", i, statement, i);
        }
        return statement;
    };
    EXPECT_EQ(refusal(nested(5)), "allowed");
    EXPECT_EQ(tables_.size(), 1U) << "a query is looked at once, not once for each copy";
    EXPECT_NE(refusal(nested(12)).find("WITH"), std::string::npos);
    EXPECT_NE(refusal(nested(45)).find("WITH"), std::string::npos);
    std::string list = "WITH c0 AS (SELECT n FROM logs.a)";
    for (int i = 1; i < 40; ++i) {
        list += fmt::format(", c{} AS /* x */ MATERIALIZED (SELECT n FROM c{})", i, i - 1);
    }
    EXPECT_EQ(refusal(list + " SELECT * FROM c39"), "allowed");
    EXPECT_EQ(tables_.size(), 1U);
    EXPECT_EQ(refusal("WITH a AS (SELECT 1 AS n), b AS (WITH a AS (SELECT n FROM logs.a) FROM a) "
                      "SELECT * FROM a, b"),
              "allowed");
    EXPECT_EQ(tables_.size(), 1U);
    EXPECT_NE(refusal("WITH a AS (SELECT getenv('A')) SELECT 1"), "allowed");
    EXPECT_NE(refusal("WITH a AS (SELECT 1), b AS (SELECT getenv('A')) SELECT * FROM a"),
              "allowed");
    EXPECT_NE(refusal("SELECT * FROM (WITH a AS (SELECT getenv('A')) FROM a)"), "allowed");
}

TEST_F(SqlGuard, CommentsAndQuotesHideNoBrackets) {
    const auto deep = repeated("(", 200) + "1" + repeated(")", 200);
    EXPECT_NE(refusal("SELECT -- '\n" + deep).find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT /* ' */ " + deep).find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT '/*', " + deep).find("deeper"), std::string::npos);
    EXPECT_NE(refusal("SELECT $a$'$a$, " + deep).find("deeper"), std::string::npos);
    EXPECT_EQ(refusal("SELECT 1 -- " + deep), "allowed");
    EXPECT_EQ(refusal("SELECT /* " + deep + " */ 1"), "allowed");
    EXPECT_EQ(refusal("SELECT $x$" + deep + "$x$"), "allowed");
    // The lexer's time is quadratic in their depth.
    EXPECT_NE(refusal("SELECT 1 " + repeated("/*", 16'000)).find("comments"), std::string::npos);
    EXPECT_EQ(refusal("SELECT 1 " + repeated("/**/", 8'000)), "allowed");
}

TEST_F(SqlGuard, RowsTimesGetTheirDigits) {
    const auto digits = [this](const std::string& statement) {
        EXPECT_EQ(refusal(statement), "allowed") << statement;
        std::string out = std::to_string(guarded_.hidden_columns) + ":";
        for (const auto& entry : guarded_.digits) {
            out += fmt::format(" {}{}->{}", entry.from_end ? "-" : "", entry.column, entry.hidden);
        }
        return out;
    };
    EXPECT_EQ(digits("SELECT _timestamp, n FROM logs.a"), "1: 0->0");
    EXPECT_EQ(digits("SELECT n, a._TIMESTAMP AS t FROM logs.a ORDER BY 1 LIMIT 5"), "1: 1->0");
    EXPECT_EQ(digits("SELECT * FROM logs.a"), "1: 0->0");
    EXPECT_EQ(digits("SELECT n, *, _timestamp AS t, n FROM logs.a"), "2: 1->0 -1->1");
    EXPECT_EQ(digits("SELECT a._timestamp, b._timestamp FROM logs.a a, logs.b b"), "2: 0->0 1->1");
    EXPECT_EQ(digits("WITH w AS (SELECT * FROM logs.a WHERE n > 1) SELECT _timestamp FROM w"),
              "1: 0->0");
    EXPECT_EQ(digits("SELECT _timestamp FROM (SELECT n AS m, * FROM logs.a)"), "1: 0->0");
    EXPECT_EQ(digits("SELECT * FROM (SELECT n AS m, * FROM logs.a)"), "1: 1->0");
    // Elsewhere there is nothing to add, or it would change the rows.
    for (const auto* statement :
         {"SELECT DISTINCT _timestamp FROM logs.a",
          "SELECT _timestamp, count(*) FROM logs.a GROUP BY ALL",
          "SELECT _timestamp FROM logs.a GROUP BY _timestamp",
          "SELECT max(_timestamp) AS _timestamp FROM logs.a",
          "SELECT _timestamp FROM logs.a a, logs.b b",
          "SELECT _timestamp FROM (SELECT _timestamp FROM logs.a)",
          "SELECT _timestamp FROM (SELECT *, n AS _timestamp_nanos FROM logs.a)",
          "SELECT _timestamp FROM (SELECT * REPLACE (now() AS _timestamp) FROM logs.a)",
          "SELECT _timestamp FROM logs.a AS t(_timestamp, m)",
          "WITH w(_timestamp) AS (SELECT * FROM logs.a) SELECT _timestamp FROM w",
          "SELECT _timestamp FROM logs.a UNION ALL SELECT _timestamp FROM logs.b",
          "EXPLAIN SELECT * FROM logs.a"}) {
        EXPECT_EQ(digits(statement), "0:") << statement;
    }
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
