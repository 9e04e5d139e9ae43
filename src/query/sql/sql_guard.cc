#include "query/sql/sql_guard.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <duckdb.hpp>
#include <duckdb/parser/expression/list.hpp>
#include <duckdb/parser/parsed_expression_iterator.hpp>
#include <duckdb/parser/parser.hpp>
#include <duckdb/parser/query_node/list.hpp>
#include <duckdb/parser/result_modifier.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <duckdb/parser/tableref/list.hpp>
#include <fmt/format.h>

#include "model/schema.h"

namespace molesignal {
namespace {

using duckdb::ParsedExpression;
using duckdb::QueryNode;
using duckdb::TableRef;

/// Thrown inside this file only: the walk is recursive through DuckDB's callbacks.
struct Refused {
    Error error;
};

[[noreturn]] void refuse(ErrorCode code, std::string message) {
    throw Refused{Error(code, std::move(message))};
}

std::string lower(std::string text) {
    std::ranges::transform(
        text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// Counts nesting before the parser sees the text: it and the binder recurse.
Result<> check_text(std::string_view text, const GuardLimits& limits) {
    if (text.size() > limits.statement_bytes_max) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the statement has {} bytes, the limit is {}",
                                 text.size(),
                                 limits.statement_bytes_max));
    }
    if (text.find('\0') != std::string_view::npos) {
        return Error(ErrorCode::kInvalidArgument, "the statement holds a NUL byte");
    }
    std::size_t depth = 0;
    char quote = 0;
    for (const char character : text) {
        if (quote != 0) {
            quote = character == quote ? 0 : quote;
        } else if (character == '\'' || character == '"') {
            quote = character;
        } else if (character == '(' || character == '[' || character == '{') {
            if (++depth > limits.depth_max) {
                return Error(
                    ErrorCode::kInvalidArgument,
                    fmt::format("the statement nests deeper than {} levels", limits.depth_max));
            }
        } else if ((character == ')' || character == ']' || character == '}') && depth > 0) {
            --depth;
        }
    }
    return {};
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

class Guard {
public:
    Guard(const GuardLimits& limits,
          const std::function<Result<TableReplacement>(const GuardedTable&)>& replace)
        : limits_(limits), replace_(replace) {}

    void check_node(QueryNode& node) {
        descend();
        const auto scope = ctes_;
        for (auto& [name, cte] : node.cte_map.map) {
            if (!cte->key_targets.empty()) {
                refuse(ErrorCode::kForbidden, "recursive queries are not allowed");
            }
            check_node(*cte->query->node);
            ctes_.insert(lower(name));
        }
        switch (node.type) {
            case duckdb::QueryNodeType::SELECT_NODE:
                check_select(node.Cast<duckdb::SelectNode>());
                break;
            case duckdb::QueryNodeType::SET_OPERATION_NODE:
                duckdb::ParsedExpressionIterator::EnumerateQueryNodeModifiers(
                    node, [&](auto& child) { check(child); });
                check_node(*node.Cast<duckdb::SetOperationNode>().left);
                check_node(*node.Cast<duckdb::SetOperationNode>().right);
                break;
            case duckdb::QueryNodeType::CTE_NODE: {
                auto& cte = node.Cast<duckdb::CTENode>();
                check_node(*cte.query);
                ctes_.insert(lower(cte.ctename));
                check_node(*cte.child);
                break;
            }
            default:
                refuse(ErrorCode::kForbidden,
                       "this form of query is not allowed (recursive queries are not)");
        }
        ctes_ = scope;
        --depth_;
    }

private:
    void descend() {
        if (++depth_ > limits_.depth_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("the statement nests deeper than {} levels", limits_.depth_max));
        }
        if (++terms_ > limits_.terms_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("the statement has more than {} terms", limits_.terms_max));
        }
    }

    void check_select(duckdb::SelectNode& node) {
        if (node.sample != nullptr) {
            refuse(ErrorCode::kForbidden, "SAMPLE is not allowed");
        }
        // The streams of this FROM are known before its expressions: match_all needs them.
        const auto outer = std::move(full_text_);
        const auto outer_tables = tables_in_from_;
        full_text_.clear();
        tables_in_from_ = 0;
        if (node.from_table != nullptr) {
            check_table(node.from_table);
        }
        for (auto& child : node.select_list) {
            check(child);
        }
        for (auto* child : {&node.where_clause, &node.having, &node.qualify}) {
            if (*child != nullptr) {
                check(*child);
            }
        }
        for (auto& child : node.groups.group_expressions) {
            check(child);
        }
        constexpr std::size_t kGroupingSetsMax = 64;
        if (node.groups.grouping_sets.size() > kGroupingSetsMax) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("more than {} grouping sets", kGroupingSetsMax));
        }
        duckdb::ParsedExpressionIterator::EnumerateQueryNodeModifiers(
            node, [&](auto& child) { check(child); });
        full_text_ = outer;
        tables_in_from_ = outer_tables;
    }

    void check_table(duckdb::unique_ptr<TableRef>& table) {
        descend();
        if (table->sample != nullptr) {
            refuse(ErrorCode::kForbidden, "TABLESAMPLE is not allowed");
        }
        switch (table->type) {
            case duckdb::TableReferenceType::BASE_TABLE:
                replace_table(table);
                break;
            case duckdb::TableReferenceType::SUBQUERY:
                check_node(*table->Cast<duckdb::SubqueryRef>().subquery->node);
                break;
            case duckdb::TableReferenceType::JOIN: {
                if (++joins_ > limits_.joins_max) {
                    refuse(ErrorCode::kInvalidArgument,
                           fmt::format("more than {} joins", limits_.joins_max));
                }
                auto& join = table->Cast<duckdb::JoinRef>();
                check_table(join.left);
                check_table(join.right);
                if (join.condition != nullptr) {
                    check(join.condition);
                }
                break;
            }
            case duckdb::TableReferenceType::EXPRESSION_LIST:
                for (auto& row : table->Cast<duckdb::ExpressionListRef>().values) {
                    for (auto& value : row) {
                        check(value);
                    }
                }
                break;
            case duckdb::TableReferenceType::EMPTY_FROM:
                break;
            case duckdb::TableReferenceType::TABLE_FUNCTION:
                refuse(ErrorCode::kForbidden,
                       "table functions are not allowed; select from a stream, such as logs.app");
            default:
                refuse(ErrorCode::kForbidden,
                       "this kind of table is not allowed; select from a stream, such as logs.app");
        }
        --depth_;
    }

    void replace_table(duckdb::unique_ptr<TableRef>& table) {
        auto& base = table->Cast<duckdb::BaseTableRef>();
        if (base.at_clause != nullptr || !base.catalog_name.empty()) {
            refuse(ErrorCode::kForbidden,
                   fmt::format("'{}' is not a stream; streams are written logs.<name>",
                               base.ToString()));
        }
        if (base.schema_name.empty() && ctes_.contains(lower(base.table_name))) {
            return;
        }
        auto replacement = replace_({.schema = base.schema_name, .name = base.table_name});
        if (!replacement) {
            throw Refused{std::move(replacement).error()};
        }
        if (++tables_in_from_ == 1) {
            full_text_ = replacement->full_text_columns;
        }
        auto select = parse_own_select(replacement->subquery);
        auto subquery = duckdb::make_uniq<duckdb::SubqueryRef>(
            duckdb::unique_ptr<duckdb::SelectStatement>(select.release()),
            base.alias.empty() ? base.table_name : base.alias);
        subquery->column_name_alias = base.column_name_alias;
        table = std::move(subquery);
    }

    void check(duckdb::unique_ptr<ParsedExpression>& expression) {
        descend();
        switch (expression->GetExpressionClass()) {
            case duckdb::ExpressionClass::COLUMN_REF:
                drop_stream_type(expression->Cast<duckdb::ColumnRefExpression>());
                break;
            case duckdb::ExpressionClass::CASE:
            case duckdb::ExpressionClass::CAST:
            case duckdb::ExpressionClass::COMPARISON:
            case duckdb::ExpressionClass::CONJUNCTION:
            case duckdb::ExpressionClass::CONSTANT:
            case duckdb::ExpressionClass::OPERATOR:
            case duckdb::ExpressionClass::POSITIONAL_REFERENCE:
            case duckdb::ExpressionClass::BETWEEN:
                break;
            case duckdb::ExpressionClass::STAR:
                if (expression->Cast<duckdb::StarExpression>().expr != nullptr) {
                    refuse(ErrorCode::kForbidden, "COLUMNS(…) is not allowed; name the columns");
                }
                break;
            case duckdb::ExpressionClass::SUBQUERY:
                check_node(*expression->Cast<duckdb::SubqueryExpression>().subquery->node);
                break;
            case duckdb::ExpressionClass::WINDOW: {
                const auto& window = expression->Cast<duckdb::WindowExpression>();
                check_function_name(window.catalog, window.schema, window.function_name);
                break;
            }
            case duckdb::ExpressionClass::FUNCTION: {
                auto& function = expression->Cast<duckdb::FunctionExpression>();
                check_function_name(function.catalog, function.schema, function.function_name);
                check_children(*expression);
                --depth_;
                rewrite_function(expression);
                return;
            }
            default:
                refuse(ErrorCode::kForbidden,
                       fmt::format("'{}' is not allowed here", expression->ToString()));
        }
        check_children(*expression);
        --depth_;
    }

    /// logs.app.level → app.level: the subquery that stands for the stream has the name alone.
    static void drop_stream_type(duckdb::ColumnRefExpression& column) {
        auto& names = column.column_names;
        constexpr std::size_t kTypeStreamColumn = 3;
        if (names.size() > kTypeStreamColumn) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("a column is written with at most {} names, such as logs.app.level",
                               kTypeStreamColumn));
        }
        if (names.size() == kTypeStreamColumn && parse_stream_type(lower(names[0]))) {
            names.erase(names.begin());
        }
    }

    void check_children(ParsedExpression& expression) {
        duckdb::ParsedExpressionIterator::EnumerateChildren(
            expression, [&](duckdb::unique_ptr<ParsedExpression>& child) { check(child); });
    }

    static void check_function_name(const std::string& catalog,
                                    const std::string& schema,
                                    const std::string& name) {
        if ((!catalog.empty() || !schema.empty()) &&
            !(catalog.empty() && schema == "main" && is_allowed_function(lower(name)))) {
            refuse(ErrorCode::kForbidden,
                   fmt::format("function {}.{} is not allowed", schema, name));
        }
        if (!is_allowed_function(lower(name))) {
            refuse(ErrorCode::kForbidden,
                   fmt::format("function '{}' does not exist or is not allowed; see "
                               "docs/api/sql.md for those that are",
                               name));
        }
    }

    static std::string constant_text(const ParsedExpression& expression, std::string_view what) {
        if (expression.GetExpressionClass() == duckdb::ExpressionClass::CONSTANT) {
            const auto& value = expression.Cast<duckdb::ConstantExpression>().value;
            if (value.type().id() == duckdb::LogicalTypeId::VARCHAR && !value.IsNull()) {
                return duckdb::StringValue::Get(value);
            }
        }
        refuse(ErrorCode::kInvalidArgument, fmt::format("{} must be a string in quotes", what));
    }

    void rewrite_function(duckdb::unique_ptr<ParsedExpression>& expression) {
        auto& function = expression->Cast<duckdb::FunctionExpression>();
        const auto name = lower(function.function_name);
        auto& children = function.children;
        if (name == "histogram") {
            if (children.size() != 2) {
                refuse(ErrorCode::kInvalidArgument,
                       "histogram takes a time and a width: histogram(_timestamp, '5m')");
            }
            const auto width = interval_text(constant_text(*children[1], "the width of histogram"));
            if (width.empty()) {
                refuse(ErrorCode::kInvalidArgument,
                       "the width of histogram is a number and s, m, h, d or w, such as '5m'");
            }
            duckdb::vector<duckdb::unique_ptr<ParsedExpression>> arguments;
            arguments.push_back(duckdb::make_uniq<duckdb::CastExpression>(
                duckdb::LogicalType::INTERVAL,
                duckdb::make_uniq<duckdb::ConstantExpression>(duckdb::Value(width))));
            arguments.push_back(std::move(children[0]));
            replace_call(expression, "time_bucket", std::move(arguments));
        } else if (name == "match") {
            if (children.size() != 2) {
                refuse(ErrorCode::kInvalidArgument,
                       "match takes a field and a query: match(message, 'words \"a phrase\"')");
            }
            constant_text(*children[1], "the query of match");
            duckdb::vector<duckdb::unique_ptr<ParsedExpression>> arguments;
            arguments.push_back(duckdb::make_uniq<duckdb::CastExpression>(
                duckdb::LogicalType::VARCHAR, std::move(children[0])));
            arguments.push_back(std::move(children[1]));
            replace_call(expression, "ms_match", std::move(arguments));
        } else if (name == "match_all") {
            rewrite_match_all(expression);
        }
    }

    void rewrite_match_all(duckdb::unique_ptr<ParsedExpression>& expression) {
        auto& children = expression->Cast<duckdb::FunctionExpression>().children;
        if (children.size() != 1) {
            refuse(ErrorCode::kInvalidArgument,
                   "match_all takes a query: match_all('words \"a phrase\"')");
        }
        constant_text(*children[0], "the query of match_all");
        if (tables_in_from_ != 1) {
            refuse(ErrorCode::kInvalidArgument,
                   "match_all needs exactly one stream in FROM; use match(field, …)");
        }
        if (full_text_.empty()) {
            refuse(ErrorCode::kInvalidArgument,
                   "the stream has no full-text field (body, message, msg, log, text, _msg, or "
                   "those of its settings); use "
                   "match(field, …)");
        }
        // Joined by a byte that no phrase crosses; NULLs are left out.
        duckdb::vector<duckdb::unique_ptr<ParsedExpression>> fields;
        fields.push_back(duckdb::make_uniq<duckdb::ConstantExpression>(duckdb::Value("\x1e")));
        for (const auto& column : full_text_) {
            fields.push_back(duckdb::make_uniq<duckdb::CastExpression>(
                duckdb::LogicalType::VARCHAR,
                duckdb::make_uniq<duckdb::ColumnRefExpression>(column)));
        }
        duckdb::vector<duckdb::unique_ptr<ParsedExpression>> arguments;
        arguments.push_back(
            duckdb::make_uniq<duckdb::FunctionExpression>("concat_ws", std::move(fields)));
        arguments.push_back(std::move(children[0]));
        replace_call(expression, "ms_match", std::move(arguments));
    }

    static void replace_call(duckdb::unique_ptr<ParsedExpression>& expression,
                             const std::string& name,
                             duckdb::vector<duckdb::unique_ptr<ParsedExpression>> arguments) {
        const auto alias = expression->GetAlias();
        auto call = duckdb::make_uniq<duckdb::FunctionExpression>(name, std::move(arguments));
        call->SetAlias(alias);
        expression = std::move(call);
    }

    const GuardLimits& limits_;
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace_;
    std::set<std::string> ctes_;
    std::vector<std::string> full_text_;
    std::size_t tables_in_from_ = 0;
    std::size_t depth_ = 0;
    std::size_t terms_ = 0;
    std::size_t joins_ = 0;
};

}  // namespace

std::unique_ptr<duckdb::SelectStatement> parse_own_select(const std::string& text) {
    duckdb::Parser parser;
    parser.ParseQuery(text);
    auto statement = std::move(parser.statements.at(0));
    return std::unique_ptr<duckdb::SelectStatement>(
        static_cast<duckdb::SelectStatement*>(statement.release()));
}

Result<std::unique_ptr<duckdb::SelectStatement>> guard_statement(
    std::string_view text,
    const GuardLimits& limits,
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace) try {
    MS_TRY_VOID(check_text(text, limits));
    duckdb::Parser parser;
    parser.ParseQuery(std::string(text));
    if (parser.statements.size() != 1) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("one statement is wanted, not {}", parser.statements.size()));
    }
    auto statement = std::move(parser.statements[0]);
    if (statement->type != duckdb::StatementType::SELECT_STATEMENT) {
        return Error(ErrorCode::kForbidden, "only SELECT is allowed");
    }
    std::unique_ptr<duckdb::SelectStatement> select(
        static_cast<duckdb::SelectStatement*>(statement.release()));
    Guard guard(limits, replace);
    guard.check_node(*select->node);
    return select;
} catch (const Refused& refused) {
    return refused.error;
} catch (const std::exception& exception) {
    // The only other thrower is DuckDB's parser.
    return Error(ErrorCode::kInvalidArgument, duckdb::ErrorData(exception).RawMessage());
}

}  // namespace molesignal
