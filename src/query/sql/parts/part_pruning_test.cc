#include "query/sql/parts/part_pruning.h"

#include <duckdb.hpp>
#include <duckdb/planner/expression/list.hpp>
#include <duckdb/planner/filter/conjunction_filter.hpp>
#include <duckdb/planner/filter/constant_filter.hpp>
#include <duckdb/planner/filter/null_filter.hpp>
#include <gtest/gtest.h>

#include "query/sql/duckdb_types.h"

namespace molesignal {
namespace {

using duckdb::Expression;
using duckdb::ExpressionType;
using duckdb::Value;

/// What whole statements prune is in tests/scenario/store/pruning.txt.
class PartPruning : public ::testing::Test {
protected:
    PartPruning() {
        source_.schema.variants = {{.id = FieldId{1}, .name = "n", .type = FieldType::kInt64},
                                   {.id = FieldId{2}, .name = "s", .type = FieldType::kString},
                                   {.id = FieldId{3}, .name = "at", .type = FieldType::kTimestamp},
                                   {.id = FieldId{4}, .name = "f", .type = FieldType::kFloat64},
                                   {.id = FieldId{5}, .name = "new", .type = FieldType::kInt64},
                                   {.id = FieldId{6}, .name = "u", .type = FieldType::kUint64}};
        part_.fields = {FieldId{1}, FieldId{2}, FieldId{3}, FieldId{4}, FieldId{6}};
        part_.zone_maps = {
            {.field = FieldId{1}, .min = "-5", .max = "17", .null_count = 2},
            {.field = FieldId{2}, .min = "b\xc3", .max = "d"},
            {.field = FieldId{3}, .min = "1700000000000000999", .max = "1700000060000000001"},
            {.field = FieldId{6}, .min = "1", .max = "18446744073709551615"}};
        part_.time_min_us = 1'700'000'000'000'000;
        part_.time_max_us = 1'700'000'060'000'000;
        part_.shard = ShardId{7};
        part_.position_begin = Position{100};
        part_.position_end = Position{200};
    }

    using Pointer = duckdb::unique_ptr<Expression>;
    Pointer column(std::size_t index) {
        return duckdb::make_uniq<duckdb::BoundReferenceExpression>(duckdb_type_of(source_, index),
                                                                   index);
    }
    static std::size_t field(std::size_t index) { return ScanSource::kOwnColumns + index; }
    static Pointer cast(Pointer child, const duckdb::LogicalType& type, bool try_cast = false) {
        return duckdb::make_uniq<duckdb::BoundCastExpression>(
            std::move(child), type, duckdb::BoundCastInfo(nullptr), try_cast);
    }
    static Pointer compare(Pointer left, ExpressionType type, Value right) {
        return duckdb::make_uniq<duckdb::BoundComparisonExpression>(
            type,
            std::move(left),
            duckdb::make_uniq<duckdb::BoundConstantExpression>(std::move(right)));
    }
    bool holds(const Expression& condition) {
        return may_be_true(
            condition,
            [](const Expression& expression) -> std::optional<std::size_t> {
                return expression.GetExpressionClass() == duckdb::ExpressionClass::BOUND_REF
                           ? std::optional<std::size_t>(
                                 expression.Cast<duckdb::BoundReferenceExpression>().index)
                           : std::nullopt;
            },
            [this](std::size_t index) { return part_bounds(part_, source_, index); });
    }
    bool holds(std::size_t index, ExpressionType type, Value constant) {
        return holds(*compare(column(index), type, std::move(constant)));
    }

    /// Whether all rows certainly pass a scan's filter on a column.
    bool must_pass(std::size_t index, duckdb::unique_ptr<duckdb::TableFilter> filter) {
        duckdb::TableFilterSet filters;
        filters.filters[1] = std::move(filter);
        return molesignal::must_pass(filters, {field(1), index}, source_, [this](std::size_t i) {
            return part_bounds(part_, source_, i);
        });
    }
    static duckdb::unique_ptr<duckdb::TableFilter> filter(ExpressionType type, Value constant) {
        return duckdb::make_uniq<duckdb::ConstantFilter>(type, std::move(constant));
    }

    ScanSource source_;
    PartInfo part_;
};

constexpr auto kEqual = ExpressionType::COMPARE_EQUAL;
constexpr auto kLess = ExpressionType::COMPARE_LESSTHAN;
constexpr auto kLessEqual = ExpressionType::COMPARE_LESSTHANOREQUALTO;
constexpr auto kGreater = ExpressionType::COMPARE_GREATERTHAN;
constexpr auto kGreaterEqual = ExpressionType::COMPARE_GREATERTHANOREQUALTO;

TEST_F(PartPruning, NumbersAtTheirBounds) {
    EXPECT_TRUE(holds(field(0), kEqual, Value::BIGINT(17)));
    EXPECT_FALSE(holds(field(0), kEqual, Value::BIGINT(18)));
    EXPECT_FALSE(holds(field(0), kEqual, Value::BIGINT(-6)));
    EXPECT_FALSE(holds(field(0), kLess, Value::BIGINT(-5)));
    EXPECT_TRUE(holds(field(0), kLessEqual, Value::BIGINT(-5)));
    EXPECT_FALSE(holds(field(0), kGreater, Value::BIGINT(17)));
    EXPECT_TRUE(holds(field(0), kGreaterEqual, Value::BIGINT(17)));
    EXPECT_FALSE(holds(field(5), kEqual, Value::UBIGINT(0)));
    EXPECT_TRUE(holds(field(5), kEqual, Value::UBIGINT(UINT64_MAX)));
}

TEST_F(PartPruning, NothingIsTrueOfNull) {
    EXPECT_FALSE(holds(field(0), kEqual, Value(duckdb::LogicalType::BIGINT)));
    EXPECT_TRUE(holds(
        field(0), ExpressionType::COMPARE_NOT_DISTINCT_FROM, Value(duckdb::LogicalType::BIGINT)));
    EXPECT_FALSE(holds(field(4), kEqual, Value::BIGINT(1))) << "the part has no such column";
    EXPECT_FALSE(
        holds(*compare(cast(column(field(4)), duckdb::LogicalType::VARCHAR), kEqual, Value("1"))));
}

TEST_F(PartPruning, TextsAreComparedByTheirBytes) {
    EXPECT_TRUE(holds(field(1), kEqual, Value("c")));
    EXPECT_TRUE(holds(field(1), kEqual, Value("b\xc3\xa4")))
        << "a bound may be cut inside a character";
    EXPECT_FALSE(holds(field(1), kEqual, Value("bz")));
    EXPECT_FALSE(holds(field(1), kGreater, Value("d")));
}

TEST_F(PartPruning, TimesOfFieldsAreNanosecondsInZoneMaps) {
    const auto at = [](std::int64_t micros) {
        return Value::TIMESTAMPTZ(duckdb::timestamp_tz_t(micros));
    };
    EXPECT_TRUE(holds(field(2), kLessEqual, at(1'700'000'000'000'000)));
    EXPECT_FALSE(holds(field(2), kLess, at(1'700'000'000'000'000)));
    EXPECT_TRUE(holds(field(2), kEqual, at(1'700'000'060'000'000)));
    EXPECT_FALSE(holds(field(2), kGreater, at(1'700'000'060'000'000)));
    EXPECT_FALSE(holds(ScanSource::kTimestamp, kGreater, at(1'700'000'060'000'000)));
}

TEST_F(PartPruning, WhatIsNotKnownIsPossible) {
    EXPECT_TRUE(holds(field(3), kEqual, Value::DOUBLE(1))) << "no zone map: there was a NaN";
    EXPECT_TRUE(holds(ScanSource::kExtra, kEqual, Value("x")));
    EXPECT_TRUE(
        holds(*compare(cast(column(field(0)), duckdb::LogicalType::VARCHAR), kEqual, Value("99"))))
        << "'9' sorts behind '17'";
    EXPECT_TRUE(holds(*compare(
        cast(column(field(0)), duckdb::LogicalType::DOUBLE, true), kEqual, Value::DOUBLE(99))));
    EXPECT_TRUE(holds(*column(field(0)))) << "not a condition that it knows";
}

TEST_F(PartPruning, CastsThatKeepTheOrderAreFollowed) {
    EXPECT_FALSE(holds(*compare(
        cast(column(field(0)), duckdb::LogicalType::DOUBLE), kGreater, Value::DOUBLE(17.5))));
    EXPECT_TRUE(holds(
        *compare(cast(column(field(0)), duckdb::LogicalType::DOUBLE), kLess, Value::DOUBLE(-4.5))));
    EXPECT_FALSE(holds(*compare(cast(column(ScanSource::kTimestamp), duckdb::LogicalType::DATE),
                                kEqual,
                                Value::DATE(2023, 11, 13))));
    EXPECT_TRUE(holds(*compare(cast(column(ScanSource::kTimestamp), duckdb::LogicalType::DATE),
                               kEqual,
                               Value::DATE(2023, 11, 14))));
    EXPECT_TRUE(holds(
        *compare(cast(column(field(5)), duckdb::LogicalType::BIGINT), kEqual, Value::BIGINT(-1))))
        << "a bound that the cast refuses";
}

TEST_F(PartPruning, ShardAndPositions) {
    EXPECT_TRUE(holds(ScanSource::kShard, kEqual, Value::BIGINT(7)));
    EXPECT_FALSE(holds(ScanSource::kShard, kEqual, Value::BIGINT(8)));
    EXPECT_TRUE(holds(ScanSource::kPosition, kEqual, Value::BIGINT(199)));
    EXPECT_FALSE(holds(ScanSource::kPosition, kEqual, Value::BIGINT(200)));
}

TEST_F(PartPruning, APartOfSeveralShardsMayHaveRowsOfAny) {
    part_.shard = kSeveralShards;
    EXPECT_TRUE(holds(ScanSource::kShard, kEqual, Value::BIGINT(7)));
    EXPECT_TRUE(holds(ScanSource::kShard, kGreater, Value::BIGINT(8)));
    EXPECT_TRUE(holds(
        ScanSource::kShard, ExpressionType::COMPARE_NOTEQUAL, Value::BIGINT(kSeveralShards.value)));
    EXPECT_FALSE(holds(ScanSource::kShard, kEqual, Value(duckdb::LogicalType::BIGINT)));
    EXPECT_TRUE(holds(ScanSource::kPosition, kEqual, Value::BIGINT(199)));
    EXPECT_FALSE(holds(ScanSource::kPosition, kEqual, Value::BIGINT(200)))
        << "its positions are bounds over all of them";
}

TEST_F(PartPruning, AllRowsPassWhatTheirBoundsAreWithin) {
    const auto at = [](std::int64_t micros) {
        return Value::TIMESTAMPTZ(duckdb::timestamp_tz_t(micros));
    };
    const auto passes = [&](ExpressionType type, std::int64_t micros) {
        return must_pass(ScanSource::kTimestamp, filter(type, at(micros)));
    };
    EXPECT_TRUE(passes(kGreaterEqual, 1'700'000'000'000'000));
    EXPECT_FALSE(passes(kGreater, 1'700'000'000'000'000));
    EXPECT_TRUE(passes(kLess, 1'700'000'060'000'001));
    EXPECT_FALSE(passes(kLess, 1'700'000'060'000'000));
    EXPECT_FALSE(passes(kEqual, 1'700'000'000'000'000));
    EXPECT_TRUE(passes(ExpressionType::COMPARE_NOTEQUAL, 1'600'000'000'000'000));

    const auto both = [&](std::int64_t begin, std::int64_t end) {
        auto filters = duckdb::make_uniq<duckdb::ConjunctionAndFilter>();
        filters->child_filters.push_back(filter(kGreaterEqual, at(begin)));
        filters->child_filters.push_back(filter(kLess, at(end)));
        return must_pass(ScanSource::kTimestamp, std::move(filters));
    };
    EXPECT_TRUE(both(1'700'000'000'000'000, 1'700'000'060'000'001));
    EXPECT_FALSE(both(1'700'000'000'000'001, 1'700'000'060'000'001));
    EXPECT_FALSE(both(1'700'000'000'000'000, 1'700'000'060'000'000));
}

TEST_F(PartPruning, NothingPassesForCertainThatMayBeNullOrIsNotKnown) {
    EXPECT_FALSE(must_pass(field(0), filter(kLess, Value::BIGINT(100)))) << "there are NULLs";
    EXPECT_TRUE(must_pass(field(5), filter(kGreater, Value::UBIGINT(0))));
    EXPECT_FALSE(must_pass(field(1), filter(kGreater, Value("a")))) << "bounds may be cut";
    EXPECT_FALSE(must_pass(field(3), filter(kLess, Value::DOUBLE(1e9)))) << "no zone map";
    EXPECT_FALSE(must_pass(ScanSource::kTimestamp, duckdb::make_uniq<duckdb::IsNullFilter>()));
    EXPECT_FALSE(must_pass(UINT64_MAX, filter(kLess, Value::BIGINT(100))));
}

}  // namespace
}  // namespace molesignal
