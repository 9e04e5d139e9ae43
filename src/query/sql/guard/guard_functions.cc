#include "query/sql/guard/guard_functions.h"

#include <algorithm>
#include <charconv>

#include <duckdb.hpp>
#include <duckdb/parser/expression/list.hpp>
#include <fmt/format.h>

#include "query/sql/guard/allowed_functions.h"
#include "query/sql/guard/guard_refusal.h"
#include "query/sql/guard/lower_name.h"

namespace molesignal {

namespace {

using duckdb::FunctionExpression;
using duckdb::ParsedExpression;
using Arguments = duckdb::vector<duckdb::unique_ptr<ParsedExpression>>;
using Replacement = std::unique_ptr<ParsedExpression>;

/// What DuckDB looks for in a text takes time in proportion to both lengths: a text may have
/// megabytes, what is looked for in it only so much.
constexpr std::size_t kShortBytesMax = 256;
constexpr std::int64_t kOffsetMax = 1'000'000'000;

bool is_short_text(const ParsedExpression& expression) {
    if (expression.GetExpressionClass() != duckdb::ExpressionClass::CONSTANT) {
        return false;
    }
    const auto& value = expression.Cast<duckdb::ConstantExpression>().value;
    return value.IsNull() || value.type().id() != duckdb::LogicalTypeId::VARCHAR ||
           duckdb::StringValue::Get(value).size() <= kShortBytesMax;
}

void need_short_text(const ParsedExpression& expression, std::string_view name) {
    if (!is_short_text(expression)) {
        refuse(ErrorCode::kInvalidArgument,
               fmt::format("what {} looks for or writes must be a text in quotes of at most {} "
                           "bytes",
                           name,
                           kShortBytesMax));
    }
}

std::string constant_text(const ParsedExpression& expression, std::string_view what) {
    if (expression.GetExpressionClass() == duckdb::ExpressionClass::CONSTANT) {
        const auto& value = expression.Cast<duckdb::ConstantExpression>().value;
        if (value.type().id() == duckdb::LogicalTypeId::VARCHAR && !value.IsNull()) {
            return duckdb::StringValue::Get(value);
        }
    }
    refuse(ErrorCode::kInvalidArgument, fmt::format("{} must be a string in quotes", what));
}

duckdb::unique_ptr<ParsedExpression> constant(duckdb::Value value) {
    return duckdb::make_uniq<duckdb::ConstantExpression>(std::move(value));
}

duckdb::unique_ptr<ParsedExpression> as_text(duckdb::unique_ptr<ParsedExpression> child) {
    return duckdb::make_uniq<duckdb::CastExpression>(duckdb::LogicalType::VARCHAR,
                                                     std::move(child));
}

template <class... Children>
Arguments arguments_of(Children... children) {
    Arguments arguments;
    (arguments.push_back(std::move(children)), ...);
    return arguments;
}

Replacement make_call(const std::string& name, Arguments arguments) {
    return std::make_unique<FunctionExpression>(name, std::move(arguments));
}

Replacement negated(Replacement call) {
    auto negation =
        std::make_unique<duckdb::OperatorExpression>(duckdb::ExpressionType::OPERATOR_NOT);
    negation->children.push_back(duckdb::unique_ptr<ParsedExpression>(call.release()));
    return negation;
}

/// "5m" → "5 minutes"; empty if it is no duration.
std::string interval_text(const std::string& text) {
    std::uint32_t count = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    const std::string_view unit(parsed.ptr,
                                static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
    constexpr std::uint32_t kCountMax = 100'000;
    if (parsed.ec != std::errc{} || count == 0 || count > kCountMax) {
        return "";
    }
    for (const auto& [name, word] : {std::pair{"s", "seconds"},
                                     {"m", "minutes"},
                                     {"h", "hours"},
                                     {"d", "days"},
                                     {"w", "weeks"}}) {
        if (unit == name) {
            return fmt::format("{} {}", count, word);
        }
    }
    return "";
}

Replacement histogram_call(Arguments& children) {
    if (children.size() != 2) {
        refuse(ErrorCode::kInvalidArgument,
               "histogram takes a time and a width: histogram(_timestamp, '5m')");
    }
    const auto width = interval_text(constant_text(*children[1], "the width of histogram"));
    if (width.empty()) {
        refuse(ErrorCode::kInvalidArgument,
               "the width of histogram is a number and s, m, h, d or w, such as '5m'");
    }
    return make_call(
        "time_bucket",
        arguments_of(duckdb::unique_ptr<ParsedExpression>(duckdb::make_uniq<duckdb::CastExpression>(
                         duckdb::LogicalType::INTERVAL, constant(width))),
                     std::move(children[0])));
}

Replacement match_call(Arguments& children) {
    if (children.size() != 2) {
        refuse(ErrorCode::kInvalidArgument,
               "match takes a field and a query: match(message, 'words \"a phrase\"')");
    }
    constant_text(*children[1], "the query of match");
    return make_call("ms_match",
                     arguments_of(as_text(std::move(children[0])), std::move(children[1])));
}

Replacement match_all_call(Arguments& children, const FullTextScope& scope) {
    if (children.size() != 1) {
        refuse(ErrorCode::kInvalidArgument,
               "match_all takes a query: match_all('words \"a phrase\"')");
    }
    constant_text(*children[0], "the query of match_all");
    if (scope.streams != 1) {
        refuse(ErrorCode::kInvalidArgument,
               "match_all needs exactly one stream in FROM; use match(field, …)");
    }
    if (scope.columns.empty()) {
        refuse(ErrorCode::kInvalidArgument,
               "the stream has no full-text field (body, message, msg, log, text, _msg, or those "
               "of its settings); use match(field, …)");
    }
    // Joined by a byte that no phrase crosses; NULLs are left out.
    Arguments fields;
    fields.push_back(constant("\x1e"));
    for (const auto& column : scope.columns) {
        fields.push_back(as_text(duckdb::make_uniq<duckdb::ColumnRefExpression>(column)));
    }
    return make_call("ms_match",
                     arguments_of(duckdb::unique_ptr<ParsedExpression>(
                                      make_call("concat_ws", std::move(fields)).release()),
                                  std::move(children[0])));
}

/// [NOT] [I]LIKE, with ESCAPE too. DuckDB's own matcher for short patterns without '_' is linear
/// and prunes; its general one backtracks without bound.
Replacement like_call(const std::string& name, FunctionExpression& call) {
    auto& children = call.children;
    const bool negates = name.starts_with('!') || name.starts_with("not_");
    const bool folds = name.ends_with("~~*") || name.find("ilike") != std::string::npos;
    if (children.size() < 2 || children.size() > 3) {
        refuse(ErrorCode::kInvalidArgument, fmt::format("{} takes a text and a pattern", name));
    }
    const bool plain = children.size() == 2 && is_short_text(*children[1]) &&
                       children[1]->ToString().find('_') == std::string::npos;
    if (folds) {
        for (std::size_t i = 0; i < 2; ++i) {
            children[i] = duckdb::unique_ptr<ParsedExpression>(
                make_call("lower", arguments_of(as_text(std::move(children[i])))).release());
        }
    }
    if (plain) {
        return folds ? make_call(negates ? "!~~" : "~~", std::move(children)) : nullptr;
    }
    for (auto& child : children) {
        child = as_text(std::move(child));
    }
    if (children.size() == 2) {
        children.push_back(constant(""));
    }
    auto like = make_call("ms_like", std::move(children));
    return negates ? negated(std::move(like)) : std::move(like);
}

/// regexp_*(text, pattern, …): the pattern and the options in quotes.
Replacement regex_call(const std::string& name, FunctionExpression& call) {
    auto& children = call.children;
    const bool extracts = name == "regexp_extract";
    const std::size_t fixed = name == "regexp_replace" ? 3 : 2;
    const std::size_t most = fixed + (extracts ? 2 : 1);
    if (children.size() < fixed || children.size() > most) {
        refuse(ErrorCode::kInvalidArgument,
               fmt::format("{} takes {} to {} arguments", name, fixed, most));
    }
    constant_text(*children[1],
                  fmt::format("the pattern of {}", name == "~" ? "SIMILAR TO" : name));
    children[0] = as_text(std::move(children[0]));
    if (extracts) {
        if (children.size() == 2) {
            children.push_back(constant(duckdb::Value::INTEGER(0)));
        }
        const auto kind = children[2]->GetExpressionClass();
        if (kind != duckdb::ExpressionClass::CONSTANT ||
            !children[2]->Cast<duckdb::ConstantExpression>().value.type().IsIntegral()) {
            refuse(ErrorCode::kInvalidArgument, "the group of regexp_extract must be a number");
        }
    }
    if (children.size() == most) {
        constant_text(*children.back(), fmt::format("the options of {}", name));
    } else {
        children.push_back(constant(""));
    }
    return make_call(name == "~" ? "ms_regexp_full_match" : "ms_" + name, std::move(children));
}

/// A search that is DuckDB's where what is looked for is short, and ours otherwise.
Replacement search_call(const char* own, FunctionExpression& call) {
    auto& children = call.children;
    if (children.size() != 2 || is_short_text(*children[1])) {
        return nullptr;
    }
    return make_call(
        own, arguments_of(as_text(std::move(children[0])), as_text(std::move(children[1]))));
}

void need_small_offset(const ParsedExpression& expression, std::string_view name) {
    if (expression.GetExpressionClass() == duckdb::ExpressionClass::CONSTANT) {
        const auto& value = expression.Cast<duckdb::ConstantExpression>().value;
        duckdb::Value number;
        std::string error;
        if (value.IsNull()) {
            return;
        }
        if (value.type().IsIntegral() &&
            value.DefaultTryCastAs(duckdb::LogicalType::BIGINT, number, &error, true)) {
            const auto offset = number.GetValue<std::int64_t>();
            if (offset >= -kOffsetMax && offset <= kOffsetMax) {
                return;
            }
        }
    }
    // DuckDB crashes at the smallest number, which a column may hold.
    refuse(ErrorCode::kInvalidArgument,
           fmt::format("the offset of {} must be a number, at most {}", name, kOffsetMax));
}

const AllowedFunction& known_function(const std::string& catalog,
                                      const std::string& schema,
                                      const std::string& name) {
    const auto* function = find_allowed_function(lower_name(name));
    if (!catalog.empty() || (!schema.empty() && (schema != "main" || function == nullptr))) {
        refuse(ErrorCode::kForbidden, fmt::format("function {}.{} is not allowed", schema, name));
    }
    if (function == nullptr) {
        refuse(ErrorCode::kForbidden,
               fmt::format("function '{}' does not exist or is not allowed; see "
                           "docs/api/sql.md for those that are",
                           name));
    }
    return *function;
}

Replacement apply_rule(const AllowedFunction& function,
                       FunctionExpression& call,
                       const FullTextScope& scope) {
    const std::string name(function.name);
    auto& children = call.children;
    switch (function.rule) {
        case FunctionRule::kNone:
        case FunctionRule::kOffset:
            return nullptr;
        case FunctionRule::kShortSecond:
            if (children.size() >= 2) {
                need_short_text(*children[1], name);
            }
            return nullptr;
        case FunctionRule::kShortOthers:
            for (std::size_t i = 1; i < children.size(); ++i) {
                need_short_text(*children[i], name);
            }
            return nullptr;
        case FunctionRule::kShortIfText:
            if (std::ranges::none_of(children, [](const auto& child) {
                    return child->GetExpressionClass() == duckdb::ExpressionClass::CONSTANT &&
                           is_short_text(*child);
                })) {
                need_short_text(*children.back(), name);
            }
            return nullptr;
        case FunctionRule::kContains:
            return search_call("ms_contains", call);
        case FunctionRule::kPosition:
            return search_call("ms_position", call);
        case FunctionRule::kLike:
            return like_call(name, call);
        case FunctionRule::kRegex:
            return regex_call(name, call);
        case FunctionRule::kOwn:
            return name == "histogram" ? histogram_call(children)
                   : name == "match"   ? match_call(children)
                                       : match_all_call(children, scope);
    }
    return nullptr;
}

}  // namespace

std::unique_ptr<ParsedExpression> guard_call(FunctionExpression& call, const FullTextScope& scope) {
    const auto& function = known_function(call.catalog, call.schema, call.function_name);
    const bool aggregates =
        function.use == FunctionUse::kAggregate || function.use == FunctionUse::kAggregateOnly;
    if (call.export_state) {
        refuse(ErrorCode::kForbidden, "EXPORT_STATE is not allowed");
    }
    if (function.use == FunctionUse::kWindow) {
        refuse(ErrorCode::kInvalidArgument,
               fmt::format("'{}' needs a window: {}(…) OVER (…)", function.name, function.name));
    }
    if (!aggregates && (call.distinct || call.filter != nullptr ||
                        (call.order_bys != nullptr && !call.order_bys->orders.empty()))) {
        refuse(ErrorCode::kInvalidArgument,
               fmt::format("'{}' is no aggregate: DISTINCT, FILTER and ORDER BY do not apply",
                           function.name));
    }
    auto replacement = apply_rule(function, call, scope);
    if (replacement != nullptr) {
        replacement->SetAlias(call.GetAlias());
    }
    return replacement;
}

void guard_window(duckdb::WindowExpression& call) {
    const auto& function = known_function(call.catalog, call.schema, call.function_name);
    if (function.use == FunctionUse::kScalar || function.use == FunctionUse::kAggregateOnly) {
        refuse(ErrorCode::kInvalidArgument,
               fmt::format("'{}' cannot be used over a window", function.name));
    }
    if (!call.arg_orders.empty()) {
        refuse(ErrorCode::kForbidden,
               "ORDER BY among the arguments of a window function is not allowed; order the "
               "window");
    }
    if (call.distinct && call.exclude_clause != duckdb::WindowExcludeMode::NO_OTHER) {
        refuse(
            ErrorCode::kForbidden,
            "DISTINCT with EXCLUDE in a window is not allowed: its time grows with the square of "
            "the rows");
    }
    if (function.rule == FunctionRule::kOffset && call.offset_expr != nullptr) {
        need_small_offset(*call.offset_expr, function.name);
    }
}

}  // namespace molesignal
