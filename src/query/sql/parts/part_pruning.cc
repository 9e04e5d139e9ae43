#include "query/sql/parts/part_pruning.h"

#include <algorithm>
#include <charconv>

#include <duckdb.hpp>
#include <duckdb/planner/expression/list.hpp>
#include <duckdb/planner/table_filter.hpp>
#include <fmt/format.h>

#include "query/sql/duckdb_types.h"

namespace molesignal {
namespace {

using duckdb::Expression;
using duckdb::ExpressionClass;
using duckdb::ExpressionType;
using duckdb::Value;
using Kind = ColumnBounds::Kind;

/// Whether a value in [min, max] can compare so with `constant`.
template <class Bound>
bool possible(const Bound& min,
              const Bound& max,
              ExpressionType comparison,
              const Bound& constant) {
    switch (comparison) {
        case ExpressionType::COMPARE_EQUAL:
            return !(constant < min) && !(max < constant);
        case ExpressionType::COMPARE_NOTEQUAL:
            return min < constant || constant < max;
        case ExpressionType::COMPARE_LESSTHAN:
            return min < constant;
        case ExpressionType::COMPARE_LESSTHANOREQUALTO:
            return !(constant < min);
        case ExpressionType::COMPARE_GREATERTHAN:
            return constant < max;
        case ExpressionType::COMPARE_GREATERTHANOREQUALTO:
            return !(max < constant);
        default:
            return true;
    }
}

bool is_time(const duckdb::LogicalType& type) {
    switch (type.id()) {
        case duckdb::LogicalTypeId::DATE:
        case duckdb::LogicalTypeId::TIMESTAMP:
        case duckdb::LogicalTypeId::TIMESTAMP_TZ:
            return true;
        default:
            return false;
    }
}

/// Whether a cast keeps the order of values (times: in UTC, which is the engine's time zone).
bool keeps_order(const duckdb::LogicalType& from, const duckdb::LogicalType& to) {
    return (from.IsNumeric() && to.IsNumeric()) || (is_time(from) && is_time(to));
}

/// `value` as `type`. DuckDB's own casts of TIMESTAMPTZ need ICU and a session; ours are in UTC.
std::optional<Value> cast_value(const Value& value, const duckdb::LogicalType& type) {
    std::string error;
    Value cast;
    const bool from_utc = value.type().id() == duckdb::LogicalTypeId::TIMESTAMP_TZ;
    const bool to_utc = type.id() == duckdb::LogicalTypeId::TIMESTAMP_TZ;
    const auto plain =
        from_utc ? Value::TIMESTAMP(value.GetValueUnsafe<duckdb::timestamp_t>()) : value;
    const auto target = to_utc ? duckdb::LogicalType(duckdb::LogicalType::TIMESTAMP) : type;
    if (!plain.DefaultTryCastAs(target, cast, &error, false)) {
        return std::nullopt;
    }
    return to_utc ? Value::TIMESTAMPTZ(
                        duckdb::timestamp_tz_t(cast.GetValueUnsafe<duckdb::timestamp_t>().value))
                  : cast;
}

/// A bound of a column as the value that a chain of casts makes of it.
std::optional<Value> bound_value(const std::string& text, const Expression& expression) {
    if (expression.GetExpressionClass() == ExpressionClass::BOUND_CAST) {
        const auto inner = bound_value(text, *expression.Cast<duckdb::BoundCastExpression>().child);
        return inner.has_value() ? cast_value(*inner, expression.return_type) : std::nullopt;
    }
    if (is_time(expression.return_type)) {
        std::int64_t micros = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), micros);
        return parsed.ec == std::errc()
                   ? std::optional(Value::TIMESTAMPTZ(duckdb::timestamp_tz_t(micros)))
                   : std::nullopt;
    }
    return cast_value(Value(text), expression.return_type);
}

class Evaluation {
public:
    Evaluation(const ColumnOf& column_of, const BoundsOf& bounds_of)
        : column_of_(column_of), bounds_of_(bounds_of) {}

    bool may_be_true(const Expression& condition) const {
        switch (condition.GetExpressionClass()) {
            case ExpressionClass::BOUND_CONSTANT: {
                const auto& value = condition.Cast<duckdb::BoundConstantExpression>().value;
                return value.type().id() != duckdb::LogicalTypeId::BOOLEAN ||
                       (!value.IsNull() && duckdb::BooleanValue::Get(value));
            }
            case ExpressionClass::BOUND_CONJUNCTION: {
                const auto& children =
                    condition.Cast<duckdb::BoundConjunctionExpression>().children;
                const auto may = [this](const auto& child) { return may_be_true(*child); };
                return condition.GetExpressionType() == ExpressionType::CONJUNCTION_AND
                           ? std::ranges::all_of(children, may)
                           : std::ranges::any_of(children, may);
            }
            case ExpressionClass::BOUND_COMPARISON: {
                const auto& comparison = condition.Cast<duckdb::BoundComparisonExpression>();
                const auto type = condition.GetExpressionType();
                return may_compare(*comparison.left, type, *comparison.right) &&
                       may_compare(*comparison.right,
                                   duckdb::FlipComparisonExpression(type),
                                   *comparison.left);
            }
            case ExpressionClass::BOUND_BETWEEN: {
                const auto& between = condition.Cast<duckdb::BoundBetweenExpression>();
                return may_compare(*between.input, between.LowerComparisonType(), *between.lower) &&
                       may_compare(*between.input, between.UpperComparisonType(), *between.upper);
            }
            case ExpressionClass::BOUND_OPERATOR:
                return operator_may_be_true(condition.Cast<duckdb::BoundOperatorExpression>());
            case ExpressionClass::BOUND_COLUMN_REF:
            case ExpressionClass::BOUND_REF:
                return may_compare(condition,
                                   ExpressionType::COMPARE_EQUAL,
                                   duckdb::BoundConstantExpression(Value::BOOLEAN(true)));
            default:
                return true;
        }
    }

    bool must_be_true(const Expression& condition) const {
        switch (condition.GetExpressionClass()) {
            case ExpressionClass::BOUND_CONJUNCTION: {
                const auto& children =
                    condition.Cast<duckdb::BoundConjunctionExpression>().children;
                const auto must = [this](const auto& child) { return must_be_true(*child); };
                return condition.GetExpressionType() == ExpressionType::CONJUNCTION_AND
                           ? std::ranges::all_of(children, must)
                           : std::ranges::any_of(children, must);
            }
            case ExpressionClass::BOUND_COMPARISON: {
                const auto& comparison = condition.Cast<duckdb::BoundComparisonExpression>();
                const auto opposite = opposite_of(condition.GetExpressionType());
                return opposite.has_value() &&
                       ((is_never_null(*comparison.left) &&
                         !may_compare(*comparison.left, *opposite, *comparison.right)) ||
                        (is_never_null(*comparison.right) &&
                         !may_compare(*comparison.right,
                                      duckdb::FlipComparisonExpression(*opposite),
                                      *comparison.left)));
            }
            default:
                return false;
        }
    }

private:
    /// What is true of values of which `comparison` is not.
    static std::optional<ExpressionType> opposite_of(ExpressionType comparison) {
        switch (comparison) {
            case ExpressionType::COMPARE_EQUAL:
            case ExpressionType::COMPARE_NOTEQUAL:
            case ExpressionType::COMPARE_LESSTHAN:
            case ExpressionType::COMPARE_LESSTHANOREQUALTO:
            case ExpressionType::COMPARE_GREATERTHAN:
            case ExpressionType::COMPARE_GREATERTHANOREQUALTO:
                return duckdb::NegateComparisonExpression(comparison);
            default:
                return std::nullopt;
        }
    }

    bool is_never_null(const Expression& expression) const {
        const auto column = column_of_(expression);
        if (!column.has_value()) {
            return false;
        }
        const auto bounds = bounds_of_(*column);
        return bounds.kind == Kind::kNumbers && !bounds.has_nulls;
    }

    bool operator_may_be_true(const duckdb::BoundOperatorExpression& condition) const {
        const auto& children = condition.children;
        switch (condition.GetExpressionType()) {
            case ExpressionType::OPERATOR_IS_NULL: {
                const auto column = column_of_(*children[0]);
                return !column.has_value() || bounds_of_(*column).has_nulls;
            }
            case ExpressionType::OPERATOR_IS_NOT_NULL: {
                const auto column = column_of_(*children[0]);
                return !column.has_value() || bounds_of_(*column).kind != Kind::kAllNull;
            }
            case ExpressionType::OPERATOR_NOT:
                return may_compare(*children[0],
                                   ExpressionType::COMPARE_EQUAL,
                                   duckdb::BoundConstantExpression(Value::BOOLEAN(false)));
            case ExpressionType::COMPARE_IN:
                return std::any_of(
                    children.begin() + 1, children.end(), [&](const auto& candidate) {
                        return may_compare(*children[0], ExpressionType::COMPARE_EQUAL, *candidate);
                    });
            default:
                return true;
        }
    }

    struct Operand {
        std::size_t column = 0;
        bool ordered = true;  ///< The casts around the column keep the order of its values.
    };

    /// The column under casts.
    std::optional<Operand> operand_of(const Expression& expression) const {
        if (expression.GetExpressionClass() == ExpressionClass::BOUND_CAST) {
            const auto& cast = expression.Cast<duckdb::BoundCastExpression>();
            auto operand = operand_of(*cast.child);
            if (operand.has_value() &&
                (cast.try_cast || !keeps_order(cast.child->return_type, cast.return_type))) {
                operand->ordered = false;
            }
            return operand;
        }
        const auto column = column_of_(expression);
        return column.has_value() ? std::optional(Operand{.column = *column}) : std::nullopt;
    }

    bool may_compare(const Expression& left, ExpressionType type, const Expression& right) const {
        if (right.GetExpressionClass() != ExpressionClass::BOUND_CONSTANT ||
            left.return_type != right.return_type) {
            return true;
        }
        // A field of several types: the value is one of its variants'.
        if (left.GetExpressionType() == ExpressionType::OPERATOR_COALESCE) {
            return std::ranges::any_of(
                left.Cast<duckdb::BoundOperatorExpression>().children,
                [&](const auto& variant) { return may_compare(*variant, type, right); });
        }
        const auto operand = operand_of(left);
        if (!operand.has_value()) {
            return true;
        }
        const bool null_compares = type == ExpressionType::COMPARE_DISTINCT_FROM ||
                                   type == ExpressionType::COMPARE_NOT_DISTINCT_FROM;
        const auto& constant = right.Cast<duckdb::BoundConstantExpression>().value;
        if (null_compares || constant.IsNull()) {
            return null_compares;
        }
        const auto bounds = bounds_of_(operand->column);
        if (bounds.kind == Kind::kAllNull) {
            return false;  // A cast of NULL is NULL, and no comparison is true of it.
        }
        if (!operand->ordered) {
            return true;
        }
        switch (bounds.kind) {
            case Kind::kUnknown:
            case Kind::kAllNull:
                return true;
            case Kind::kTexts:
                return left.return_type.id() != duckdb::LogicalTypeId::VARCHAR ||
                       possible<std::string_view>(
                           bounds.min, bounds.max, type, duckdb::StringValue::Get(constant));
            case Kind::kNumbers:
                break;
        }
        const auto min = bound_value(bounds.min, left);
        const auto max = bound_value(bounds.max, left);
        return !min.has_value() || !max.has_value() || possible(*min, *max, type, constant);
    }

    const ColumnOf& column_of_;
    const BoundsOf& bounds_of_;
};

ColumnBounds numbers(std::string min, std::string max, bool has_nulls) {
    return {.kind = Kind::kNumbers,
            .has_nulls = has_nulls,
            .min = std::move(min),
            .max = std::move(max)};
}

std::int64_t floor_us(std::int64_t nanos) {
    return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

/// A zone map's nanoseconds as the column's microseconds.
std::string micros_text(const std::string& nanos) {
    std::int64_t value = 0;
    const auto parsed = std::from_chars(nanos.data(), nanos.data() + nanos.size(), value);
    return parsed.ec == std::errc() ? std::to_string(floor_us(value)) : std::string();
}

ColumnBounds zone_bounds(const PartInfo& part, const FieldVariant& variant) {
    const auto zone = std::ranges::find(part.zone_maps, variant.id, &ZoneMap::field);
    if (zone == part.zone_maps.end()) {
        const bool has_column = std::ranges::find(part.fields, variant.id) != part.fields.end();
        return {.kind = has_column ? Kind::kUnknown : Kind::kAllNull, .min = {}, .max = {}};
    }
    const bool has_nulls = zone->null_count > 0;
    switch (variant.type) {
        case FieldType::kString:
            return {
                .kind = Kind::kTexts, .has_nulls = has_nulls, .min = zone->min, .max = zone->max};
        case FieldType::kTimestamp:
            return numbers(micros_text(zone->min), micros_text(zone->max), has_nulls);
        case FieldType::kBool:
        case FieldType::kInt64:
        case FieldType::kUint64:
        case FieldType::kFloat64:
            return numbers(zone->min, zone->max, has_nulls);
        case FieldType::kBytes:
        case FieldType::kJson:
            break;
    }
    return {.kind = Kind::kUnknown, .has_nulls = has_nulls, .min = {}, .max = {}};
}

}  // namespace

bool may_be_true(const duckdb::Expression& condition,
                 const ColumnOf& column_of,
                 const BoundsOf& bounds_of) {
    return Evaluation(column_of, bounds_of).may_be_true(condition);
}

namespace {

/// The column of a filter that is turned into an expression by its scan's column.
std::optional<std::size_t> filtered_column(const Expression& expression) {
    return expression.GetExpressionClass() == ExpressionClass::BOUND_REF
               ? std::optional<std::size_t>(
                     expression.Cast<duckdb::BoundReferenceExpression>().index)
               : std::nullopt;
}

/// Whether `holds` is true of every filter as a condition; of one on a column of DuckDB's own, such
/// as the row's number, `of_others` stands.
template <class Holds>
bool all_filters(const duckdb::TableFilterSet& filters,
                 const std::vector<std::uint64_t>& columns,
                 const ScanSource& source,
                 bool of_others,
                 const Holds& holds) {
    return std::ranges::all_of(filters.filters, [&](const auto& entry) {
        if (entry.first >= columns.size() || columns[entry.first] >= source.columns()) {
            return of_others;
        }
        const auto column = columns[entry.first];
        const duckdb::BoundReferenceExpression reference(duckdb_type_of(source, column), column);
        return holds(*entry.second->ToExpression(reference));
    });
}

}  // namespace

bool may_pass(const duckdb::TableFilterSet& filters,
              const std::vector<std::uint64_t>& columns,
              const ScanSource& source,
              const BoundsOf& bounds_of) {
    const ColumnOf column_of = filtered_column;
    const Evaluation evaluation(column_of, bounds_of);
    return all_filters(filters, columns, source, true, [&](const Expression& condition) {
        return evaluation.may_be_true(condition);
    });
}

bool must_pass(const duckdb::TableFilterSet& filters,
               const std::vector<std::uint64_t>& columns,
               const ScanSource& source,
               const BoundsOf& bounds_of) {
    const ColumnOf column_of = filtered_column;
    const Evaluation evaluation(column_of, bounds_of);
    return all_filters(filters, columns, source, false, [&](const Expression& condition) {
        return evaluation.must_be_true(condition);
    });
}

ColumnBounds part_bounds(const PartInfo& part, const ScanSource& source, std::size_t column) {
    switch (column) {
        case ScanSource::kTimestamp:
            return numbers(
                std::to_string(part.time_min_us), std::to_string(part.time_max_us), false);
        case ScanSource::kTimestampNanos:
            return numbers("0", "999", false);
        case ScanSource::kShard:
            if (part.shard == kSeveralShards) {
                return {.has_nulls = false, .min = {}, .max = {}};
            }
            return numbers(
                std::to_string(part.shard.value), std::to_string(part.shard.value), false);
        case ScanSource::kPosition:
            return numbers(std::to_string(part.position_begin.value),
                           std::to_string(part.position_end.value - 1),
                           false);
        case ScanSource::kExtra:
            return {.min = {}, .max = {}};
        default:
            return zone_bounds(part, source.schema.variants[column - ScanSource::kOwnColumns]);
    }
}

ColumnBounds chunk_bounds(const HotChunk& chunk, std::size_t column) {
    switch (column) {
        case ScanSource::kTimestamp:
            return numbers(std::to_string(floor_us(chunk.time_min_ns)),
                           std::to_string(floor_us(chunk.time_max_ns)),
                           false);
        case ScanSource::kShard:
            return numbers(
                std::to_string(chunk.shard.value), std::to_string(chunk.shard.value), false);
        case ScanSource::kPosition:
            return numbers(std::to_string(chunk.first_position.value + chunk.begin),
                           std::to_string(chunk.first_position.value + chunk.rows - 1),
                           false);
        default:
            return {.min = {}, .max = {}};
    }
}

}  // namespace molesignal
