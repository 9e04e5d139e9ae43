#include "query/sql/guard/guard_times.h"

#include <algorithm>

#include <duckdb.hpp>
#include <duckdb/parser/expression/list.hpp>
#include <duckdb/parser/query_node/select_node.hpp>
#include <duckdb/parser/result_modifier.hpp>

#include "model/schema.h"
#include "query/sql/guard/lower_name.h"

namespace molesignal {
namespace {

using duckdb::ExpressionClass;

bool groups_rows(const duckdb::SelectNode& node) {
    return !node.groups.group_expressions.empty() || !node.groups.grouping_sets.empty() ||
           node.having != nullptr ||
           node.aggregate_handling == duckdb::AggregateHandling::FORCE_AGGREGATES;
}

/// '*' or 't.*' that passes a table's columns on as they are.
const GuardRelation* passed_on(const duckdb::ParsedExpression& item, const GuardScope& scope) {
    if (item.GetExpressionClass() != ExpressionClass::STAR) {
        return nullptr;
    }
    const auto& star = item.Cast<duckdb::StarExpression>();
    if (star.columns || star.expr != nullptr || !star.exclude_list.empty() ||
        !star.replace_list.empty() || !star.rename_list.empty()) {
        return nullptr;
    }
    return scope.only(lower_name(star.relation_name));
}

/// The table whose row's time a plain column of a select list is.
const GuardRelation* time_of(const duckdb::ParsedExpression& item, const GuardScope& scope) {
    if (item.GetExpressionClass() != ExpressionClass::COLUMN_REF) {
        return nullptr;
    }
    const auto& names = item.Cast<duckdb::ColumnRefExpression>().column_names;
    if (names.size() > 2 || lower_name(names.back()) != kTimestampField) {
        return nullptr;
    }
    return scope.only(names.size() == 2 ? lower_name(names.front()) : std::string());
}

}  // namespace

std::optional<std::size_t> find_row_time(const duckdb::SelectNode& node, const GuardScope& scope) {
    if (groups_rows(node) || scope.relations.size() != 1) {
        return std::nullopt;
    }
    std::optional<std::size_t> found;
    std::size_t before = 0;
    for (const auto& item : node.select_list) {
        if (const auto* relation = passed_on(*item, scope);
            relation != nullptr && !found.has_value() && relation->shape.row_time.has_value()) {
            found = before + *relation->shape.row_time;
        } else if (item->GetExpressionClass() == ExpressionClass::STAR) {
            return std::nullopt;
        } else {
            // A second column of one of the names would be another one's.
            const auto name = lower_name(item->GetName());
            if (name == kTimestampField || name == kTimestampNanosField) {
                return std::nullopt;
            }
            ++before;
        }
    }
    return found;
}

AddedDigits add_time_digits(duckdb::SelectNode& node, const GuardScope& scope) {
    AddedDigits added;
    const bool is_distinct = std::ranges::any_of(node.modifiers, [](const auto& modifier) {
        return modifier->type == duckdb::ResultModifierType::DISTINCT_MODIFIER;
    });
    if (groups_rows(node) || is_distinct) {
        return added;
    }
    const auto is_star = [](const auto& item) {
        return item->GetExpressionClass() == ExpressionClass::STAR;
    };
    const auto stars = std::ranges::count_if(node.select_list, is_star);
    const auto items = node.select_list.size();
    std::ptrdiff_t stars_before = 0;
    duckdb::vector<duckdb::unique_ptr<duckdb::ParsedExpression>> hidden;
    for (std::size_t i = 0; i < items; ++i) {
        const auto& item = node.select_list[i];
        const auto* star = passed_on(*item, scope);
        const auto* relation = star != nullptr ? star : time_of(*item, scope);
        const bool known_from_begin = stars_before == 0;
        stars_before += is_star(item) ? 1 : 0;
        if (relation == nullptr || !relation->shape.row_time.has_value() ||
            (!known_from_begin && (stars_before < stars || star != nullptr))) {
            continue;
        }
        TimeDigits digits{.hidden = hidden.size()};
        if (known_from_begin) {
            digits.column = i + (star != nullptr ? *relation->shape.row_time : 0);
        } else {
            digits.from_end = true;
            digits.column = items - 1 - i;
        }
        added.digits.push_back(digits);
        hidden.push_back(duckdb::make_uniq<duckdb::ColumnRefExpression>(
            std::string(kTimestampNanosField), relation->name));
    }
    added.hidden_columns = hidden.size();
    for (auto& column : hidden) {
        node.select_list.push_back(std::move(column));
    }
    return added;
}

}  // namespace molesignal
