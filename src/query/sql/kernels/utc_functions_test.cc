// The functions of times without ICU answer like those with it.
#include <duckdb.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "query/sql/kernels/kernels.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

/// An engine with some times, as ours or as DuckDB's own.
class TimesEngine {
public:
    TimesEngine(bool is_ours, std::uint64_t seed) : connection_(database_) {
        run("SET TimeZone = 'UTC'");
        run("CREATE TABLE times (t TIMESTAMPTZ)");
        run("INSERT INTO times VALUES (NULL), ('infinity'), ('-infinity'), ('epoch'),"
            " ('2000-01-03'), ('2000-01-02 23:59:59.999999'), ('1999-12-31 23:59:59.999999'),"
            " ('1969-12-31 23:59:59.999999'), ('2024-02-29 12:34:56.789'), ('0001-01-01'),"
            " ('9999-12-31 23:59:59.999999')");
        SeededRandom random(seed);
        for (int i = 0; i < 500; ++i) {
            // Years 0 to 4100, half of them near the present.
            const auto range = i % 2 == 0 ? 4'000'000'000ULL : 65'000'000'000ULL;
            const auto seconds = static_cast<std::int64_t>(random.next_u64() % range) -
                                 (i % 2 == 0 ? 2'000'000'000LL : 62'000'000'000LL);
            run(fmt::format(
                "INSERT INTO times VALUES (make_timestamptz({}))",
                seconds * 1'000'000 + static_cast<std::int64_t>(random.next_u64() % 1'000'000)));
        }
        if (is_ours) {
            register_utc_functions(database_, connection_);
        }
    }
    /// All values of an expression of `t`, with their type.
    std::string values(const std::string& expression) {
        auto result = connection_.Query(fmt::format(
            "SELECT t::VARCHAR, typeof({0}), ({0})::VARCHAR FROM times ORDER BY t", expression));
        // Both refuse, though not always in the same words.
        return result->HasError() ? "an error" : result->ToString();
    }

private:
    void run(const std::string& statement) {
        const auto result = connection_.Query(statement);
        EXPECT_FALSE(result->HasError()) << statement << ": " << result->GetError();
    }
    duckdb::DuckDB database_{nullptr};
    duckdb::Connection connection_;
};

TEST(UtcFunctions, answer_as_before) {
    const auto seed = test_seed();
    TimesEngine theirs(false, seed);
    TimesEngine ours(true, seed);
    std::vector<std::string> expressions = {"t::TIMESTAMP",
                                            "t::DATE",
                                            "t + INTERVAL '1 month'",
                                            "date_part('hour', t)",
                                            "date_part('epoch', t)",
                                            "extract(minute FROM t)",
                                            "strftime(t, '%Y %H %Z')",
                                            "date_diff('day', TIMESTAMPTZ '2020-01-01', t)",
                                            "time_bucket(INTERVAL '1 day', t, 'Europe/Berlin')",
                                            "time_bucket(INTERVAL '7 hours', t, INTERVAL '1 hour')",
                                            "time_bucket(INTERVAL '1 month', t, TIMESTAMPTZ "
                                            "'2001-02-03 04:05:06')",
                                            "time_bucket(INTERVAL '1 hour', t::TIMESTAMP)"};
    for (const auto* width : {"1 microsecond",
                              "7 seconds",
                              "5 minutes",
                              "1 hour",
                              "1 day",
                              "1 week",
                              "10 days",
                              "1 month",
                              "5 months",
                              "1 year",
                              "0 days",
                              "-1 days",
                              "1 month 1 day"}) {
        expressions.push_back(fmt::format("time_bucket(INTERVAL '{}', t)", width));
    }
    for (const auto* part : {"microsecond",
                             "millisecond",
                             "second",
                             "minute",
                             "hour",
                             "day",
                             "week",
                             "month",
                             "quarter",
                             "year",
                             "decade",
                             "century",
                             "millennium",
                             "isoyear",
                             "nonsense"}) {
        expressions.push_back(fmt::format("date_trunc('{}', t)", part));
    }
    for (const auto* name :
         {"year",    "month",      "day",        "dayofmonth", "hour",        "minute",
          "second",  "dayofweek",  "weekday",    "isodow",     "dayofyear",   "week",
          "quarter", "yearweek",   "weekofyear", "isoyear",    "microsecond", "decade",
          "century", "millennium", "era",        "epoch",      "julian"}) {
        expressions.push_back(fmt::format("{}(t)", name));
    }
    for (const auto& expression : expressions) {
        EXPECT_EQ(ours.values(expression), theirs.values(expression)) << expression;
    }
}

}  // namespace
}  // namespace molesignal
