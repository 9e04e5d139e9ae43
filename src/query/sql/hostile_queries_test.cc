// Statements that were made to hang, fill or crash the server (docs/decisions/0010 to 0012 have
// what they did to DuckDB alone): each is answered with the right error, within its memory, and the
// engine serves the next query. A statement that cannot be stopped fails by ctest's time limit.
#include <algorithm>

#include "query/sql/engine_fixture.h"
#include "query/sql/query_memory.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

std::string repeated(std::string_view text, std::size_t times) {
    std::string out;
    for (std::size_t i = 0; i < times; ++i) {
        out += text;
    }
    return out;
}

/// `text` with # for 0, 1, …, joined.
std::string listed(std::string_view text, std::size_t times, std::string_view separator) {
    std::string out;
    for (std::size_t i = 0; i < times; ++i) {
        out += i == 0 ? "" : separator;
        for (const char character : text) {
            out += character == '#' ? std::to_string(i) : std::string(1, character);
        }
    }
    return out;
}

std::string nested(std::string_view before,
                   std::string_view core,
                   std::string_view after,
                   int times) {
    return repeated(before, static_cast<std::size_t>(times)) + std::string(core) +
           repeated(after, static_cast<std::size_t>(times));
}

class HostileQueries : public EngineFixture {
protected:
    HostileQueries() {
        options_.memory_bytes = 64 << 20;
        options_.spill_bytes = 16 << 20;
        options_.timeout = std::chrono::seconds(1);
        options_.rows_max = INT64_MAX;
        options_.bytes_max = INT64_MAX;
        options_.memory = MemoryBudget::make_root("process", "memory.limit_mb", 1LL << 30);
        add_hot("app", numbered_chunk(4'096, 0, 500));
        add_part("app", numbered_chunk(4'096, 10'000, 500));
        // 'aaa…': the worst text for most searches.
        std::vector<std::optional<std::string>> texts(4, std::string(1'000'000, 'a'));
        std::vector<std::optional<std::string>> deep(
            4, repeated("[", 900'000) + repeated("]", 900'000));
        std::vector<std::optional<std::string>> parts(4, std::string(300'000, 'a') + "b");
        add_hot("big",
                ChunkBuilder(0, {1, 2, 3, 4})
                    .text("a", FieldType::kString, texts)
                    .text("part", FieldType::kString, parts)
                    .text("deep", FieldType::kString, deep)
                    .build());
        // As wide as a stream may be.
        ChunkBuilder wide(0, {1, 2});
        for (int i = 0; i < 1'000; ++i) {
            wide.fixed(fmt::format("c{}", i), FieldType::kInt64, {1, 2});
        }
        add_hot("wide", wide.build());
    }

    static void TearDownTestSuite() {
        record_figure(
            "stoppable",
            "unit/query_sql",
            fmt::format("{} hostile statements: {} refused, {} stopped, the slowest {:.2f} "
                        "s behind its time limit of 1 s",
                        statements_,
                        refused_,
                        stopped_,
                        static_cast<double>(latest_.count()) * 1e-9),
            std::nullopt);
    }
    /// Runs a statement to its end; its error must be one of `codes`.
    void expect(const std::string& statement, std::initializer_list<ErrorCode> codes) {
        const auto begin = clock().steady_now();
        const auto error = failure(statement);
        ++statements_;
        refused_ += error.code() == ErrorCode::kInvalidArgument ? 1 : 0;
        if (error.code() == ErrorCode::kTimeout || error.code() == ErrorCode::kLimitReached) {
            ++stopped_;
            const std::chrono::nanoseconds took(clock().steady_now().value - begin.value);
            latest_ = std::max(latest_, took - options_.timeout);
        }
        EXPECT_TRUE(std::ranges::find(codes, error.code()) != codes.end())
            << statement.substr(0, 100) << ": " << static_cast<int>(error.code()) << " "
            << error.message().substr(0, 200);
    }
    void expect_refused(const std::string& statement) {
        expect(statement, {ErrorCode::kInvalidArgument, ErrorCode::kForbidden});
    }
    void expect_stopped(const std::string& statement) {
        expect(statement, {ErrorCode::kTimeout, ErrorCode::kLimitReached});
    }
    /// Accepted, and done (kInternal: no error) or stopped.
    void expect_answered(const std::string& statement) {
        expect(statement, {ErrorCode::kInternal, ErrorCode::kTimeout, ErrorCode::kLimitReached});
    }
    static inline int statements_ = 0;
    static inline int refused_ = 0;
    static inline int stopped_ = 0;
    static inline std::chrono::nanoseconds latest_{0};
    /// The engine is as it was.
    void TearDown() override {
        EXPECT_EQ(answer("SELECT count(*) FROM logs.app"), "8192\n");
        if (QueryMemory::counts_operator_new()) {
            // Threads charge the budget in steps.
            EXPECT_LE(options_.memory->peak_bytes(), options_.memory_bytes + (8 << 20));
        }
        EXPECT_EQ(options_.memory->used_bytes(), 0);
    }
};

TEST_F(HostileQueries, StatementsThatAreTooLargeToPlanAreRefused) {
    expect_refused("SELECT 1" + repeated("+1", 900));
    expect_refused("SELECT 1 WHERE 1=1" + repeated(" OR 1=2", 9'000));
    expect_refused("SELECT 1 WHERE 1 IN (" + listed("#", 9'000, ",") + ")");
    expect_refused("SELECT * FROM logs.app WHERE " + listed("n<>#", 3'000, " AND "));
    expect_refused("SELECT " + nested("(", "1", ")", 900));
    expect_refused("SELECT " + nested("[", "1", "]", 900));
    expect_refused("SELECT " + nested("{'a':", "1", "}", 900));
    expect_refused("SELECT " + nested("CASE WHEN 1=1 THEN ", "1", " ELSE 0 END", 400));
    expect_refused(nested("SELECT * FROM (", "SELECT 1", ")", 400));
    expect_refused(nested("SELECT *,* FROM (", "SELECT * FROM logs.app", ")", 18));
    expect_refused(nested("SELECT *,* FROM (", "SELECT * FROM logs.wide", ")", 8));
    expect_refused("SELECT 1" + repeated(" UNION ALL SELECT 1", 500));
    expect_refused("SELECT * FROM logs.wide" + repeated(" UNION ALL SELECT * FROM logs.wide", 60));
    expect_refused("SELECT count(*) FROM " + listed("logs.app t#", 40, ","));
    expect_refused("SELECT " + listed("(SELECT max(n) FROM logs.app)", 40, ","));
    expect_refused("SELECT count(*) FROM logs.app GROUP BY CUBE (" + listed("n+#", 15, ",") + ")");
    expect_refused("SELECT count(*) FROM logs.app GROUP BY CUBE (" + listed("n+#", 40, ",") + ")");
    expect_refused(
        "SELECT count(*) FROM logs.app GROUP BY CUBE (1,2,3,4,5,6,7,8), CUBE "
        "(1,2,3,4,5,6,7,8), CUBE (1,2,3,4,5,6,7,8)");
    expect_refused("SELECT x FROM (" +
                   nested("SELECT {'a': x, 'b': x} AS x FROM (", "SELECT 1 AS x", ")", 30) + ")");
    std::string with = "SELECT 1";
    for (int i = 0; i < 14; ++i) {
        with = fmt::format("WITH c{} AS ({}) SELECT * FROM c{}", i, with, i);
    }
    expect_refused(with);
    expect_refused("SELECT 1 " + repeated("/*", 16'000) + repeated("*/", 16'000));
    expect_refused("SELECT NULL::INT" + repeated("[]", 20'000));
    expect_refused("SELECT " + std::string(60'000, 'x') + " FROM logs.wide");
    expect_refused("PIVOT logs.app ON n");
    expect_refused("SELECT * FROM (PIVOT logs.app ON n USING count(*))");
    expect_refused(
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM r) SELECT max(i) FROM r");
}

TEST_F(HostileQueries, StatementsAsLargeAsTheyMayBeArePlannedAndStopped) {
    expect_answered("SELECT count(*) FROM logs.app WHERE " + listed("n<>#", 600, " AND "));
    expect_answered("SELECT count(*) FROM logs.app WHERE " + listed("n=#", 600, " OR "));
    expect_answered("SELECT count(*) FROM logs.app WHERE n IN (" + listed("#", 1'900, ",") + ")");
    expect_answered("SELECT " + listed(repeated("1+", 90) + "#", 10, ","));
    expect_answered("SELECT " + listed("sum(n+#)", 400, ",") + " FROM logs.app");
    expect_answered("SELECT " + listed("count(DISTINCT n+#)", 300, ",") + " FROM logs.app");
    expect_answered("SELECT " + listed("sum(n) OVER (PARTITION BY n+#)", 150, ",") +
                    " FROM logs.app");
    expect_answered("SELECT " + listed("quantile_cont(n, 0.#)", 200, ",") + " FROM logs.app");
    expect_answered("SELECT count(*) FROM logs.app GROUP BY CUBE (" + listed("n+#", 6, ",") + ")");
    expect_answered("SELECT count(*) FROM " + listed("logs.wide t#", 12, ","));
    expect_answered("SELECT * FROM logs.wide" + repeated(" UNION ALL SELECT * FROM logs.wide", 20));
    expect_answered(nested("SELECT * FROM (", "SELECT * FROM logs.wide", ")", 45));
    expect_answered("SELECT DISTINCT * FROM logs.wide ORDER BY ALL");
    std::string clique = "SELECT count(*) FROM " + listed("logs.app t#", 13, ",") + " WHERE true";
    for (int i = 0; i < 13; ++i) {
        for (int j = 0; j < i; ++j) {
            clique += fmt::format(" AND t{}.n + {} = t{}.n", i, i * j, j);
        }
    }
    expect_answered(clique);
    expect_answered("SELECT count(*) FROM logs.app WHERE " +
                    listed("body LIKE '%a#%'", 400, " OR "));
    expect_answered("SELECT count(*) FROM logs.app WHERE " +
                    listed("regexp_matches(body, 'a{#}b')", 300, " OR "));
    std::string levels = "SELECT n AS x FROM logs.app";
    for (int i = 0; i < 30; ++i) {
        levels = "SELECT x + x AS x FROM (" + levels + ")";
    }
    expect_answered("SELECT count(*) FROM (" + levels + ") WHERE x = 1");
}

TEST_F(HostileQueries, MuchWorkEndsAtTheDeadline) {
    expect_stopped("SELECT count(*) FROM logs.app a, logs.app b, logs.app c, logs.app d");
    expect_stopped(
        "SELECT count(*) FROM logs.app a, logs.app b WHERE a.body || b.n < b.body || a.n");
    expect_stopped(
        "SELECT count(*) FROM logs.app a JOIN logs.app b ON a.n < b.n JOIN logs.app c ON b.n < "
        "c.n");
    expect_stopped(
        "SELECT sum((SELECT count(*) FROM logs.app b, logs.app c WHERE b.n * c.n < a.n)) FROM "
        "logs.app a");
    expect_stopped(
        "SELECT a.n FROM logs.app a, logs.app b, logs.app c ORDER BY hash(a.n + b.n + c.n) LIMIT 1 "
        "OFFSET 1000000");
    expect_stopped("SELECT a.body FROM logs.app a, logs.app b, logs.app c");
    expect_stopped(
        "SELECT sum(x) FROM (SELECT sum(a.n) OVER (ORDER BY b.n RANGE BETWEEN b.n PRECEDING AND "
        "a.n FOLLOWING) AS x FROM logs.app a, logs.app b)");
    expect_stopped(
        "SELECT count(*) FROM logs.app a, logs.app b WHERE regexp_matches(a.body || b.body, "
        "'(x+x+)+y')");
}

TEST_F(HostileQueries, SearchesInLongTextsAreLinearOrStopped) {
    const std::string many = "logs.big, logs.app WHERE n < 1000 AND ";
    expect_answered("SELECT count(*) FROM logs.big WHERE a LIKE '%a%a%a%a_a%a%b'");
    expect_answered("SELECT count(*) FROM logs.big WHERE a ILIKE '%a%a%a%a%a%a%b'");
    expect_answered("SELECT count(*) FROM logs.big WHERE a LIKE '%a!%a%a%a%b' ESCAPE '!'");
    expect_answered("SELECT count(*) FROM logs.big WHERE a LIKE '%" + std::string(30'000, 'a') +
                    "b%'");
    expect_answered("SELECT count(*) FROM logs.big WHERE a LIKE '%' || part || '%'");
    expect_answered("SELECT count(*) FROM " + many + "a LIKE '%' || part || '_'");
    expect_stopped("SELECT count(*) FROM " + many + "contains(a, part || n)");
    expect_stopped("SELECT count(*) FROM " + many + "instr(a, part || n) > 0");
    expect_answered("SELECT count(*) FROM logs.big WHERE contains(a, '" + std::string(60'000, 'a') +
                    "b')");
    expect_answered("SELECT sum(strpos(a, '" + std::string(60'000, 'a') + "b')) FROM logs.big");
    expect_refused("SELECT count(*) FROM logs.big WHERE replace(a, part, '') = ''");
    expect_refused("SELECT count(*) FROM logs.big WHERE split_part(a, part, 2) = ''");
    expect_refused("SELECT count(*) FROM logs.big WHERE a GLOB '*a*a*a*a*b'");
    expect_refused("SELECT levenshtein(a, part) FROM logs.big");
    expect_refused("SELECT jaccard(a, part) FROM logs.big");
    expect_refused("SELECT json_contains(deep, deep) FROM logs.big");
    expect_refused("SELECT regexp_matches(a, '(a?){1000}a{1000}b') FROM logs.big");
    expect_refused("SELECT regexp_matches(a, part) FROM logs.big");
    expect_refused("SELECT regexp_matches(a, '" + std::string(20'000, 'a') + "b') FROM logs.big");
    expect_answered("SELECT count(*) FROM " + many + "regexp_matches(a || n, '(a+)+$b')");
    expect_stopped(
        "SELECT sum(length(regexp_replace(a || n, '(a?)', '\\1\\1\\1', 'g'))) FROM logs.big, "
        "logs.app");
    expect_answered("SELECT count(*) FROM " + many + "match(a, 'a* b')");
    expect_answered(
        "SELECT json_valid(deep), json_type(deep), json_extract(deep, '$..*') IS NULL FROM "
        "logs.big");
    expect_answered("SELECT length(CAST(CAST(deep AS JSON) AS VARCHAR)) FROM logs.big");
    expect_refused("SELECT CAST(a AS BIGNUM) FROM logs.big");
    expect_refused("SELECT strptime(a, [" + listed("'%Y-#'", 1'000, ",") + "]) FROM logs.big");
    expect_refused("SELECT translate(a, '" + std::string(30'000, 'x') + "', '') FROM logs.big");
    expect_refused("SELECT trim(a, part) FROM logs.big");
}

TEST_F(HostileQueries, WhatExpandsIsHeldToTheMemory) {
    const std::string text(200, 'y');
    expect_stopped("SELECT max(length(replace(replace(replace(a, 'a', '" + text + "'), 'y', '" +
                   text + "'), 'y', '" + text + "'))) FROM logs.big");
    expect_stopped("SELECT max(length(regexp_replace(a, 'a', '" + text + "', 'g'))) FROM logs.big");
    expect_stopped("SELECT max(length(" + nested("hex(", "body", ")", 24) + ")) FROM logs.app");
    expect_stopped("SELECT max(length(" + nested("base64(encode(", "body", "))", 40) +
                   ")) FROM logs.app");
    expect_stopped("SELECT max(length(" + nested("url_encode(", "body || '%'", ")", 24) +
                   ")) FROM logs.app");
    expect_stopped("SELECT max(length(concat(" + listed("a", 900, ",") + "))) FROM logs.big");
    expect_stopped("SELECT max(length(concat_ws(a, " + listed("a", 900, ",") + "))) FROM logs.big");
    expect_stopped("SELECT max(length(x)) FROM (" +
                   nested("SELECT x || x AS x FROM (", "SELECT body AS x FROM logs.app", ")", 24) +
                   ")");
    expect_stopped("SELECT max(length(" + nested("CAST([", "body", "] AS VARCHAR)", 24) +
                   ")) FROM logs.app");
    expect_stopped("SELECT max(len(x)) FROM (" +
                   nested("SELECT [x, x] AS x FROM (", "SELECT n AS x FROM logs.app", ")", 24) +
                   ")");
    expect_stopped("SELECT x FROM (" +
                   nested("SELECT x || x AS x FROM (", "SELECT [n] AS x FROM logs.app", ")", 26) +
                   ")");
    expect_refused("SELECT max(length(" +
                   nested("CAST(CAST(", "body", " AS BLOB)::BIT AS VARCHAR)", 12) +
                   ")) FROM logs.app");
    expect_refused("SELECT length(repeat('a', 2000000000))");
    expect_refused("SELECT length(lpad('', 2000000000, 'x'))");
    expect_refused("SELECT length(printf('%2000000000d', 1))");
    expect_refused("SELECT length(format('{:>2000000000}', 'x'))");
    expect_refused("SELECT string_agg(body) FROM logs.app");
    expect_refused("SELECT list(body) FROM logs.app");
    expect_refused("SELECT len(range(500000000))");
    expect_stopped(
        "SELECT count(*) FROM (SELECT DISTINCT a.body || b.body FROM logs.app a, logs.app b)");
    expect_stopped("SELECT count(DISTINCT a.n * 8192 + b.n) FROM logs.app a, logs.app b");
    expect_stopped("SELECT count(DISTINCT a.body || b.body) FROM logs.app a, logs.app b");
    expect_stopped(
        "SELECT count(DISTINCT a.n), sum(c) FROM (SELECT a.n * 8192 + b.n AS n, count(DISTINCT "
        "a.body || b.n) AS c FROM logs.app a, logs.app b GROUP BY 1) a");
    expect_stopped(
        "SELECT max(len(x)) FROM (SELECT a.n, b.n, max(a.body || b.n, 999999) AS x FROM logs.app "
        "a, logs.app b GROUP BY ALL)");
    if (QueryMemory::counts_operator_new()) {
        expect_stopped("SELECT mode(a.body || b.n) FROM logs.app a, logs.app b");
        expect_stopped("SELECT entropy(a.n * 10000 + b.n) FROM logs.app a, logs.app b");
        expect_stopped("SELECT mad(a.n * 10000 + b.n) FROM logs.app a, logs.app b");
        expect_stopped("SELECT median(a.n * b.n) FROM logs.app a, logs.app b");
        expect_stopped(
            "SELECT max(x) FROM (SELECT median(DISTINCT n) FILTER (WHERE n > 2) OVER (ORDER BY n) "
            "AS x FROM (SELECT a.n * 7 + b.n AS n FROM logs.app a, logs.app b))");
    }
}

TEST_F(HostileQueries, WhatCrashesDuckDbIsRefused) {
    expect_refused("SELECT lag(n, -9223372036854775808) OVER () FROM logs.app");
    expect_refused("SELECT lead(n, -9223372036854775807 - 1) OVER () FROM logs.app");
    expect_refused("SELECT lag(n, n) OVER () FROM logs.app");
    expect_refused(
        "SELECT ntile(1 ORDER BY n) OVER (PARTITION BY n GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED "
        "FOLLOWING) FROM logs.app");
    expect_refused("SELECT json_contains(deep, '[]') FROM logs.big");
    expect_refused("SELECT * FROM enable_logging(storage='file', storage_config={'path':'x'})");
}

}  // namespace
}  // namespace molesignal
