// count(DISTINCT x) by sets of hashes answers like DuckDB's own.
#include <set>

#include <duckdb.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "query/sql/kernels/kernels.h"
#include "query/sql/kernels/key_set.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

template <class Key>
Key key_of(std::uint64_t number) {
    if constexpr (std::is_same_v<Key, WideKey>) {
        return {.low = number * 0x9e3779b97f4a7c15ULL, .high = number};
    } else {
        return number;
    }
}

template <class Key>
class KeySets : public ::testing::Test {};
using Keys = ::testing::Types<std::uint64_t, WideKey>;
TYPED_TEST_SUITE(KeySets, Keys);

TYPED_TEST(KeySets, every_key_counts_once) {
    SeededRandom random(test_seed());
    for (const std::uint64_t range : {1ULL, 3ULL, 1'000ULL, 16'384ULL, 16'386ULL, 200'000ULL}) {
        KeySet<TypeParam> keys;
        std::set<std::uint64_t> expected;
        std::vector<TypeParam> batch;
        for (std::uint64_t i = 0; i < 2 * range; ++i) {
            const auto number = random.next_u64() % range;
            expected.insert(number);
            batch.push_back(key_of<TypeParam>(number));
        }
        keys.insert(std::span<const TypeParam>(batch).first(batch.size() / 2));
        for (auto i = batch.size() / 2; i < batch.size(); ++i) {
            keys.insert(batch[i]);
        }
        EXPECT_EQ(keys.size(), expected.size()) << range;
    }
}

TYPED_TEST(KeySets, sets_are_united_whatever_their_sizes) {
    constexpr std::array<std::uint64_t, 5> kSizes = {0, 1, 9'000, 17'000, 60'000};
    for (const auto left : kSizes) {
        for (const auto right : kSizes) {
            const auto fill = [](KeySet<TypeParam>& keys, std::uint64_t begin, std::uint64_t size) {
                for (auto i = begin; i < begin + size; ++i) {
                    keys.insert(key_of<TypeParam>(i));
                }
            };
            // Half of the smaller one's keys are in both.
            const auto begin = left > right / 2 ? left - right / 2 : 0;
            const auto expected = std::max(left, begin + right);
            KeySet<TypeParam> one;
            KeySet<TypeParam> other;
            fill(one, 0, left);
            fill(other, begin, right);
            KeySet<TypeParam> added;
            added.add(one);
            added.add(other);
            EXPECT_EQ(added.size(), expected);
            one.take(other);
            EXPECT_EQ(one.size(), expected) << left << " and " << right;
        }
    }
}

/// An engine with rows of every type, as ours or as DuckDB's own.
class RowsEngine {
public:
    RowsEngine(bool is_ours, std::uint64_t seed) : connection_(database_) {
        if (is_ours) {
            register_distinct_counts(database_);
        }
        run("SET threads = 3");
        run(fmt::format("SELECT setseed({})", static_cast<double>(seed % 1'000) / 1'000));
        run("CREATE TABLE rows AS SELECT i, i % 7 AS few, i // 3 AS many,"
            " CASE WHEN i % 11 = 0 THEN NULL ELSE (i * 7919) % 50021 END AS n,"
            " CASE WHEN i % 13 = 0 THEN NULL ELSE 'a text of more than twelve bytes ' || (i % "
            "30011) END AS s,"
            " ['', 'a', 'b', NULL][1 + i % 4] AS short,"
            " [0.0, -0.0, 'NaN'::DOUBLE, '-NaN'::DOUBLE, 1.5, NULL][1 + i % 6] AS d"
            " FROM range(150000) t(i)");
    }
    std::string answer(const std::string& statement) {
        auto result = connection_.Query(statement);
        return result->HasError() ? "error: " + result->GetError() : result->ToString();
    }
    std::string plan(const std::string& statement) {
        auto result = connection_.Query("EXPLAIN " + statement);
        return result->HasError() ? result->GetError() : result->GetValue(1, 0).ToString();
    }

private:
    void run(const std::string& statement) {
        const auto result = connection_.Query(statement);
        EXPECT_FALSE(result->HasError()) << statement << ": " << result->GetError();
    }
    duckdb::DuckDB database_{nullptr};
    duckdb::Connection connection_;
};

TEST(DistinctCounts, answer_as_before) {
    const auto seed = test_seed();
    RowsEngine theirs(false, seed);
    RowsEngine ours(true, seed);
    std::vector<std::string> statements;
    for (const auto* type : {"n",
                             "s",
                             "short",
                             "d",
                             "d::FLOAT",
                             "i",
                             "few::UTINYINT",
                             "few::TINYINT - 3",
                             "(n % 30000)::SMALLINT",
                             "(n // 2)::USMALLINT",
                             "n::UINTEGER",
                             "n::UBIGINT",
                             "n % 2 = 0",
                             "make_date(2024, 1, 1 + few::INT)",
                             "make_timestamp(n)",
                             "make_timestamptz(n)",
                             "TIME '10:00:00' + INTERVAL (few) MINUTES",
                             "(n / 7)::DECIMAL(9, 2)",
                             "(few / 7)::DECIMAL(4, 3)",
                             "s::BLOB",
                             "NULL",
                             "1",
                             "n::HUGEINT",
                             "[n % 5]",
                             "{'a': few}",
                             "INTERVAL (few) DAYS",
                             "uuid()::VARCHAR IS NULL"}) {
        statements.push_back(fmt::format("SELECT count(DISTINCT {}) FROM rows", type));
        statements.push_back(fmt::format(
            "SELECT few, count(DISTINCT {0}), count({0}) FROM rows GROUP BY few ORDER BY few",
            type));
        statements.push_back(
            fmt::format("SELECT sum(c), max(c), min(c) FROM (SELECT many, count(DISTINCT {}) AS c "
                        "FROM rows GROUP BY many)",
                        type));
    }
    for (const auto* statement :
         {"SELECT count(DISTINCT n) FILTER (few > 2), count(DISTINCT n), count(*) FROM rows",
          "SELECT count(DISTINCT n), sum(DISTINCT n), count(DISTINCT s) FROM rows WHERE few = 99",
          "SELECT few, count(DISTINCT n) FROM rows WHERE few > 99 GROUP BY few",
          "SELECT few, short, count(DISTINCT n) AS c FROM rows GROUP BY ROLLUP (few, short) ORDER "
          "BY ALL",
          "SELECT few, short, count(DISTINCT s) AS c FROM rows GROUP BY GROUPING SETS ((few), "
          "(short), ()) ORDER BY ALL",
          "SELECT few FROM rows GROUP BY few HAVING count(DISTINCT n) > 100 ORDER BY "
          "count(DISTINCT n), few",
          "SELECT (SELECT count(DISTINCT b.n) FROM rows b WHERE b.i < a.few * 10) AS c FROM rows a "
          "WHERE a.i < 20 ORDER BY c",
          "SELECT i, count(DISTINCT few) OVER (ORDER BY i ROWS 5 PRECEDING) FROM rows WHERE i < 50 "
          "ORDER BY i",
          "SELECT count(DISTINCT n) + 1 AS x, count(DISTINCT n) FROM rows",
          "SELECT count(DISTINCT a.s) FROM rows a JOIN rows b ON a.i = b.many"}) {
        statements.emplace_back(statement);
    }
    for (const auto& statement : statements) {
        const auto expected = theirs.answer(statement);
        EXPECT_FALSE(expected.starts_with("error")) << statement << ": " << expected;
        EXPECT_EQ(ours.answer(statement), expected) << statement;
    }
}

TEST(DistinctCounts, take_the_place_of_duckdbs_own) {
    RowsEngine ours(true, 1);
    EXPECT_NE(ours.plan("SELECT count(DISTINCT s) FROM rows").find("count_distinct"),
              std::string::npos);
    EXPECT_NE(
        ours.plan("SELECT few, count(DISTINCT n) FROM rows GROUP BY few").find("count_distinct"),
        std::string::npos);
    EXPECT_EQ(ours.plan("SELECT count(n) FROM rows").find("count_distinct"), std::string::npos);
}

}  // namespace
}  // namespace molesignal
