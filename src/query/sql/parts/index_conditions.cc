#include "query/sql/parts/index_conditions.h"

#include <algorithm>
#include <functional>

#include <duckdb.hpp>
#include <duckdb/planner/expression/list.hpp>

#include "query/regex_literals.h"
#include "query/search_schema.h"
#include "query/sql/kernels/kernels.h"
#include "query/sql/kernels/like_pattern.h"
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

bool is_false(const Expression& expression) {
    if (expression.GetExpressionClass() != ExpressionClass::BOUND_CONSTANT) {
        return false;
    }
    const auto& value = expression.Cast<duckdb::BoundConstantExpression>().value;
    return value.type().id() == duckdb::LogicalTypeId::BOOLEAN && !value.IsNull() &&
           !duckdb::BooleanValue::Get(value);
}

/// A test of a text.
using TextTest = std::function<bool(std::string_view)>;

/// `test` of the text that DuckDB's lower() makes of a value, where that is certain: of ASCII.
IndexQuery::ValueTest of_lowered(TextTest test) {
    return [test = std::move(test)](std::string_view value) -> std::optional<bool> {
        std::string lowered;
        for (const char byte : value) {
            if ((byte & 0x80) != 0) {
                return std::nullopt;
            }
            lowered.push_back(byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + ('a' - 'A'))
                                                         : byte);
        }
        return test(lowered);
    };
}

/// The test that LIKE, contains, starts_with and ends_with are; nothing: another function.
std::optional<TextTest> text_test(const std::string& name,
                                  const std::string& constant,
                                  const std::optional<LikePattern>& like) {
    if (like.has_value()) {
        return [like](std::string_view text) { return like->matches(text, [](auto) {}); };
    }
    if (name == "contains" || name == "ms_contains") {
        return [constant](std::string_view text) {
            return text.find(constant) != std::string_view::npos;
        };
    }
    if (name == "prefix" || name == "starts_with" || name == "^@") {
        return [constant](std::string_view text) { return text.starts_with(constant); };
    }
    if (name == "suffix" || name == "ends_with") {
        return [constant](std::string_view text) { return text.ends_with(constant); };
    }
    return std::nullopt;
}

class Translation {
public:
    Translation(const ColumnOf& column_of, const ScanSource& source)
        : column_of_(column_of), source_(source) {}

    /// The rows for which `condition` is `truth`: for NULL it is neither true nor false.
    std::optional<IndexCondition> run(const Expression& condition, bool truth) const {
        switch (condition.GetExpressionClass()) {
            case ExpressionClass::BOUND_CONJUNCTION:
                return conjunction(condition.Cast<duckdb::BoundConjunctionExpression>(), truth);
            case ExpressionClass::BOUND_COMPARISON:
                return comparison(condition.Cast<duckdb::BoundComparisonExpression>(), truth);
            case ExpressionClass::BOUND_OPERATOR:
                return operation(condition.Cast<duckdb::BoundOperatorExpression>(), truth);
            case ExpressionClass::BOUND_FUNCTION:
                return call(condition.Cast<duckdb::BoundFunctionExpression>(), truth);
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

    /// Whether indexes have the words of a field, and not its values.
    bool has_words(FieldId id) const {
        const auto variant = std::ranges::find(source_.schema.variants, id, &FieldVariant::id);
        return variant != source_.schema.variants.end() &&
               is_full_text_field(source_.stream.settings, variant->name);
    }

    std::optional<IndexCondition> conjunction(const duckdb::BoundConjunctionExpression& condition,
                                              bool truth) const {
        // All are true, or one is false; one is true, or all are false.
        const bool needs_all =
            (condition.GetExpressionType() == ExpressionType::CONJUNCTION_AND) == truth;
        IndexCondition joined{.query = needs_all ? IndexQuery::all({}) : IndexQuery::any({}),
                              .same = true,
                              .helps = false};
        for (const auto& child : condition.children) {
            auto part = run(*child, truth);
            if (!part.has_value()) {
                if (!needs_all) {
                    return std::nullopt;
                }
                joined.same = false;
                continue;
            }
            joined.same = joined.same && part->same;
            joined.helps = joined.helps || part->helps;
            joined.query.children.push_back(std::move(part->query));
        }
        return joined.query.children.empty() ? std::nullopt : std::optional(std::move(joined));
    }

    /// The rows that have a value and do not answer `query`, which is of this field.
    static IndexQuery others(FieldId field, IndexQuery query) {
        return IndexQuery::all(
            {IndexQuery::present(field), IndexQuery::negation(std::move(query))});
    }

    std::optional<IndexCondition> comparison(const duckdb::BoundComparisonExpression& condition,
                                             bool truth) const {
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
        return one_of(
            *field, {std::move(*value)}, (type == ExpressionType::COMPARE_EQUAL) == truth);
    }

    IndexCondition one_of(FieldId field, std::vector<std::string> values, bool is_one) const {
        auto query = IndexQuery::one_of(field, std::move(values));
        return {.query = is_one ? std::move(query) : others(field, std::move(query)),
                .same = true,
                .helps = is_one || !has_words(field)};
    }

    std::optional<IndexCondition> operation(const duckdb::BoundOperatorExpression& condition,
                                            bool truth) const {
        const auto& children = condition.children;
        const auto type = condition.GetExpressionType();
        switch (type) {
            case ExpressionType::COMPARE_IN:
            case ExpressionType::COMPARE_NOT_IN:
                return is_in(condition, (type == ExpressionType::COMPARE_IN) == truth);
            case ExpressionType::OPERATOR_NOT:
                return run(*children[0], !truth);
            case ExpressionType::OPERATOR_IS_NULL:
            case ExpressionType::OPERATOR_IS_NOT_NULL: {
                const auto field = text_field(*children[0]);
                if (!field.has_value()) {
                    return std::nullopt;
                }
                auto query = IndexQuery::present(*field);
                const bool is_present = (type == ExpressionType::OPERATOR_IS_NOT_NULL) == truth;
                return IndexCondition{
                    .query = is_present ? std::move(query) : IndexQuery::negation(std::move(query)),
                    .same = true,
                    .helps = false};
            }
            case ExpressionType::OPERATOR_COALESCE: {
                // coalesce(…, false) is never NULL.
                if (children.size() != 2 || !is_false(*children[1])) {
                    return std::nullopt;
                }
                auto inner = run(*children[0], true);
                if (truth || !inner.has_value()) {
                    return inner;
                }
                return negation(std::move(*inner));
            }
            default:
                return std::nullopt;
        }
    }

    std::optional<IndexCondition> is_in(const duckdb::BoundOperatorExpression& condition,
                                        bool is_one) const {
        const auto& children = condition.children;
        const auto field = text_field(*children[0]);
        std::vector<std::string> values;
        for (std::size_t i = 1; i < children.size(); ++i) {
            // With a NULL among them what is not found is neither in nor not in.
            auto value = constant_text(*children[i]);
            if (!value.has_value()) {
                return std::nullopt;
            }
            values.push_back(std::move(*value));
        }
        return field.has_value() ? std::optional(one_of(*field, std::move(values), is_one))
                                 : std::nullopt;
    }

    /// Of what is never NULL.
    static std::optional<IndexCondition> negation(IndexCondition condition) {
        return condition.same ? std::optional(IndexCondition{
                                    .query = IndexQuery::negation(std::move(condition.query)),
                                    .same = true,
                                    .helps = condition.helps})
                              : std::nullopt;
    }

    std::optional<IndexCondition> call(const duckdb::BoundFunctionExpression& condition,
                                       bool truth) const {
        const auto& name = condition.function.name;
        const auto& children = condition.children;
        const auto constant = children.size() < 2 ? std::nullopt : constant_text(*children[1]);
        if (!constant.has_value()) {
            return std::nullopt;
        }
        if (name == "ms_match") {
            auto found = match(*children[0], *constant);
            return truth || !found.has_value() ? found : negation(std::move(*found));
        }
        const auto text = operand(*children[0]);
        if (!text.has_value()) {
            return std::nullopt;
        }
        auto query = name.starts_with("ms_regexp_") ? regex(condition, *text)
                                                    : like(condition, *text, *constant);
        if (!query.has_value()) {
            return std::nullopt;
        }
        const bool is_tested = query->test != nullptr;
        if (!is_tested && (!truth || query->children.empty())) {
            return std::nullopt;
        }
        const bool helps = (truth && !query->children.empty()) || !has_words(text->field);
        return IndexCondition{
            .query = truth ? std::move(*query) : others(text->field, std::move(*query)),
            .same = is_tested,
            .helps = helps};
    }

    /// A text field, or one whose letters are made small.
    struct Operand {
        FieldId field;
        bool is_lowered = false;
    };
    std::optional<Operand> operand(const Expression& text) const {
        if (const auto field = text_field(text)) {
            return Operand{.field = *field};
        }
        if (text.GetExpressionClass() != ExpressionClass::BOUND_FUNCTION) {
            return std::nullopt;
        }
        const auto& function = text.Cast<duckdb::BoundFunctionExpression>();
        if (function.function.name != "lower" || function.children.size() != 1) {
            return std::nullopt;
        }
        const auto field = text_field(*function.children[0]);
        return field.has_value() ? std::optional(Operand{.field = *field, .is_lowered = true})
                                 : std::nullopt;
    }

    /// What `test` is true of, which cannot be without `literals`.
    static IndexQuery passing(const Operand& text,
                              TextTest test,
                              std::vector<IndexQuery> literals) {
        if (test == nullptr) {
            return IndexQuery::needs(std::move(literals));
        }
        return IndexQuery::passing(
            text.field,
            text.is_lowered ? of_lowered(std::move(test)) : IndexQuery::ValueTest(std::move(test)),
            std::move(literals));
    }

    static std::optional<IndexQuery> like(const duckdb::BoundFunctionExpression& condition,
                                          const Operand& text,
                                          const std::string& constant) {
        const auto& name = condition.function.name;
        std::optional<LikePattern> pattern;
        std::vector<std::string> literals = {constant};
        if (name == "~~" || name == "ms_like") {
            const auto escape = condition.children.size() > 2
                                    ? constant_text(*condition.children[2])
                                    : std::optional<std::string>("");
            auto parsed = escape.has_value()
                              ? LikePattern::parse(constant, *escape)
                              : Error(ErrorCode::kInvalidArgument, "an escape of each row's own");
            if (!parsed) {
                return std::nullopt;
            }
            literals = parsed->literals();
            pattern = std::move(*parsed);
        }
        auto test = text_test(name, constant, pattern);
        if (!test.has_value()) {
            return std::nullopt;
        }
        std::vector<IndexQuery> needed;
        for (const auto& literal : literals) {
            if (!literal.empty()) {
                needed.push_back(IndexQuery::contains(text.field, literal, text.is_lowered));
            }
        }
        return passing(text, std::move(*test), std::move(needed));
    }

    static std::optional<IndexQuery> regex(const duckdb::BoundFunctionExpression& condition,
                                           const Operand& text) {
        auto asked = regex_condition(condition);
        if (!asked.has_value()) {
            return std::nullopt;
        }
        asked->mode.ignores_case = asked->mode.ignores_case || text.is_lowered;
        auto literals = regex_literals(asked->pattern, asked->mode, text.field);
        std::vector<IndexQuery> needed;
        if (literals.needed.has_value()) {
            needed.push_back(std::move(*literals.needed));
        }
        if (asked->is_whole && !literals.whole.empty()) {
            needed.push_back(IndexQuery::one_of(text.field, std::move(literals.whole)));
        }
        return passing(text, std::move(asked->matches), std::move(needed));
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
    return Translation(column_of, source).run(condition, true);
}

}  // namespace molesignal
