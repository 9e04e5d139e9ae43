#include "query/sql/parts/index_conditions.h"

#include <algorithm>

#include <duckdb.hpp>
#include <duckdb/planner/expression/list.hpp>

#include "query/text_match.h"

namespace molesignal {
namespace {

using duckdb::Expression;
using duckdb::ExpressionClass;
using duckdb::ExpressionType;

/// The text of a constant; nothing if it is NULL or no text.
std::optional<std::string> constant_text(const Expression& expression) {
    if (expression.GetExpressionClass() != ExpressionClass::BOUND_CONSTANT) {
        return std::nullopt;
    }
    const auto& value = expression.Cast<duckdb::BoundConstantExpression>().value;
    if (value.IsNull() || value.type().id() != duckdb::LogicalTypeId::VARCHAR) {
        return std::nullopt;
    }
    return duckdb::StringValue::Get(value);
}

/// What a pattern of LIKE is without its ends: literals between '%', each of which must occur.
/// '_' and an escape end a literal, so that less is asked for.
std::vector<std::string> literals_of_pattern(std::string_view pattern) {
    std::vector<std::string> literals(1);
    for (const char character : pattern) {
        if (character == '\\') {
            return {};  // Whether it escapes depends on the call.
        }
        if (character == '%' || character == '_') {
            literals.emplace_back();
        } else {
            literals.back().push_back(character);
        }
    }
    std::erase_if(literals, [](const auto& literal) { return literal.empty(); });
    return literals;
}

class Translation {
public:
    Translation(const ColumnOf& column_of, const ScanSource& source)
        : column_of_(column_of), source_(source) {}

    std::optional<IndexCondition> run(const Expression& condition) const {
        switch (condition.GetExpressionClass()) {
            case ExpressionClass::BOUND_CONJUNCTION:
                return conjunction(condition.Cast<duckdb::BoundConjunctionExpression>());
            case ExpressionClass::BOUND_COMPARISON:
                return comparison(condition.Cast<duckdb::BoundComparisonExpression>());
            case ExpressionClass::BOUND_OPERATOR:
                return operation(condition.Cast<duckdb::BoundOperatorExpression>());
            case ExpressionClass::BOUND_FUNCTION:
                return call(condition.Cast<duckdb::BoundFunctionExpression>());
            default:
                return std::nullopt;
        }
    }

private:
    /// The text field that an expression is a plain reference to.
    std::optional<FieldId> text_field(const Expression& expression) const {
        const auto column = column_of_(expression);
        if (!column.has_value() || *column < ScanSource::kOwnColumns) {
            return std::nullopt;
        }
        const auto& variant = source_.schema.variants[*column - ScanSource::kOwnColumns];
        // Fields that only hot rows have count from -1 down.
        return variant.type == FieldType::kString && variant.id.value >= 0
                   ? std::optional(variant.id)
                   : std::nullopt;
    }

    std::optional<IndexCondition> conjunction(
        const duckdb::BoundConjunctionExpression& condition) const {
        const bool is_and = condition.GetExpressionType() == ExpressionType::CONJUNCTION_AND;
        IndexCondition joined{.query = is_and ? IndexQuery::all({}) : IndexQuery::any({}),
                              .same = true};
        for (const auto& child : condition.children) {
            auto part = run(*child);
            if (!part.has_value()) {
                if (!is_and) {
                    return std::nullopt;
                }
                joined.same = false;
                continue;
            }
            joined.same = joined.same && part->same;
            joined.query.children.push_back(std::move(part->query));
        }
        return joined.query.children.empty() ? std::nullopt : std::optional(std::move(joined));
    }

    std::optional<IndexCondition> comparison(
        const duckdb::BoundComparisonExpression& condition) const {
        const auto type = condition.GetExpressionType();
        if (type != ExpressionType::COMPARE_EQUAL && type != ExpressionType::COMPARE_NOTEQUAL) {
            return std::nullopt;
        }
        auto field = text_field(*condition.left);
        auto value = constant_text(*condition.right);
        if (!field.has_value()) {
            field = text_field(*condition.right);
            value = constant_text(*condition.left);
        }
        if (!field.has_value() || !value.has_value()) {
            return std::nullopt;
        }
        auto equals = IndexQuery::equals(*field, *value);
        if (type == ExpressionType::COMPARE_EQUAL) {
            return IndexCondition{.query = std::move(equals), .same = true};
        }
        return IndexCondition{.query = IndexQuery::all({IndexQuery::present(*field),
                                                        IndexQuery::negation(std::move(equals))}),
                              .same = true};
    }

    std::optional<IndexCondition> operation(
        const duckdb::BoundOperatorExpression& condition) const {
        const auto& children = condition.children;
        switch (condition.GetExpressionType()) {
            case ExpressionType::COMPARE_IN: {
                const auto field = text_field(*children[0]);
                std::vector<std::string> values;
                for (std::size_t i = 1; i < children.size(); ++i) {
                    auto value = constant_text(*children[i]);
                    if (!value.has_value()) {
                        return std::nullopt;
                    }
                    values.push_back(std::move(*value));
                }
                return field.has_value()
                           ? std::optional(IndexCondition{
                                 .query = IndexQuery::one_of(*field, std::move(values)),
                                 .same = true})
                           : std::nullopt;
            }
            case ExpressionType::OPERATOR_NOT:
                return negation(*children[0]);
            default:
                return std::nullopt;
        }
    }

    /// Of what is never NULL only: where a comparison is NULL, so is its negation.
    std::optional<IndexCondition> negation(const Expression& condition) const {
        if (condition.GetExpressionClass() != ExpressionClass::BOUND_FUNCTION ||
            condition.Cast<duckdb::BoundFunctionExpression>().function.name != "ms_match") {
            return std::nullopt;
        }
        auto inner = run(condition);
        if (!inner.has_value() || !inner->same) {
            return std::nullopt;
        }
        return IndexCondition{.query = IndexQuery::negation(std::move(inner->query)), .same = true};
    }

    std::optional<IndexCondition> call(const duckdb::BoundFunctionExpression& condition) const {
        const auto& name = condition.function.name;
        const auto& children = condition.children;
        if (children.size() < 2) {
            return std::nullopt;
        }
        const auto constant = constant_text(*children[1]);
        if (!constant.has_value()) {
            return std::nullopt;
        }
        if (name == "ms_match") {
            return match(*children[0], *constant);
        }
        if (name == "contains" || name == "ms_contains" || name == "prefix" || name == "suffix" ||
            name == "starts_with" || name == "ends_with") {
            return contains(*children[0], {*constant});
        }
        if ((name == "~~" || name == "ms_like") && children.size() == 2) {
            return contains(*children[0], literals_of_pattern(*constant));
        }
        return std::nullopt;
    }

    /// `text`: a column, or one whose letters are made small.
    std::optional<IndexCondition> contains(const Expression& text,
                                           const std::vector<std::string>& literals) const {
        const auto* column = &text;
        bool ignores_case = false;
        if (text.GetExpressionClass() == ExpressionClass::BOUND_FUNCTION) {
            const auto& function = text.Cast<duckdb::BoundFunctionExpression>();
            if (function.function.name != "lower" || function.children.size() != 1) {
                return std::nullopt;
            }
            column = function.children[0].get();
            ignores_case = true;
        }
        const auto field = text_field(*column);
        if (!field.has_value() || literals.empty()) {
            return std::nullopt;
        }
        IndexCondition joined{.query = IndexQuery::all({}), .same = false};
        for (const auto& literal : literals) {
            joined.query.children.push_back(IndexQuery::contains(*field, literal, ignores_case));
        }
        return joined;
    }

    std::optional<IndexCondition> match(const Expression& text, const std::string& query) const {
        const auto parsed = TextMatch::parse(query);
        if (!parsed) {
            return std::nullopt;
        }
        if (const auto field = text_field(text)) {
            return IndexCondition{.query = parsed->index_query(*field), .same = true};
        }
        std::vector<FieldId> fields;
        if (!joined_fields(text, fields)) {
            return std::nullopt;
        }
        IndexCondition condition{.query = IndexQuery::all({}), .same = true};
        for (const auto& term : parsed->terms()) {
            std::vector<IndexQuery> places;
            for (const auto id : fields) {
                auto place = IndexQuery::phrase(id, term.tokens);
                place.last_is_prefix = term.prefix;
                places.push_back(std::move(place));
            }
            auto found = IndexQuery::any(std::move(places));
            condition.query.children.push_back(term.negated ? IndexQuery::negation(std::move(found))
                                                            : std::move(found));
        }
        return condition;
    }

    /// Of match_all over several fields: the texts that are there, joined by a byte that no term
    /// reaches across.
    bool joined_fields(const Expression& text, std::vector<FieldId>& fields) const {
        if (text.GetExpressionClass() != ExpressionClass::BOUND_FUNCTION) {
            return false;
        }
        const auto& call = text.Cast<duckdb::BoundFunctionExpression>();
        if (call.function.name != "concat_ws" || call.children.size() < 2 ||
            constant_text(*call.children[0]) != std::string("\x1e")) {
            return false;
        }
        for (std::size_t i = 1; i < call.children.size(); ++i) {
            const auto field = text_field(*call.children[i]);
            if (!field.has_value()) {
                return false;
            }
            fields.push_back(*field);
        }
        return true;
    }

    const ColumnOf& column_of_;
    const ScanSource& source_;
};

}  // namespace

std::optional<IndexCondition> index_condition(const Expression& condition,
                                              const ColumnOf& column_of,
                                              const ScanSource& source) {
    return Translation(column_of, source).run(condition);
}

}  // namespace molesignal
