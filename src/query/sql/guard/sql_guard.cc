#include "query/sql/guard/sql_guard.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <duckdb.hpp>
#include <duckdb/parser/expression/list.hpp>
#include <duckdb/parser/parsed_expression_iterator.hpp>
#include <duckdb/parser/parser.hpp>
#include <duckdb/parser/query_node/list.hpp>
#include <duckdb/parser/result_modifier.hpp>
#include <duckdb/parser/statement/explain_statement.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <duckdb/parser/tableref/list.hpp>
#include <fmt/format.h>

#include "model/schema.h"
#include "query/sql/guard/guard_functions.h"
#include "query/sql/guard/guard_refusal.h"
#include "query/sql/guard/guard_shape.h"
#include "query/sql/guard/guard_text.h"
#include "query/sql/guard/guard_times.h"
#include "query/sql/guard/lower_name.h"

namespace molesignal {
namespace {

using duckdb::ExpressionClass;
using duckdb::ParsedExpression;
using duckdb::QueryNode;
using duckdb::TableRef;

/// Types that a cast may name. Others are slow (BIGNUM: quadratic), expand eightfold at each cast
/// (BIT), or nobody needs them.
bool is_allowed_type(const duckdb::LogicalType& type, std::size_t depth = 0) {
    constexpr std::size_t kDepthMax = 16;
    if (depth > kDepthMax) {
        return false;
    }
    switch (type.id()) {
        case duckdb::LogicalTypeId::BIT:
        case duckdb::LogicalTypeId::BIGNUM:
        case duckdb::LogicalTypeId::ENUM:
        case duckdb::LogicalTypeId::UNION:
        case duckdb::LogicalTypeId::VARIANT:
        case duckdb::LogicalTypeId::AGGREGATE_STATE:
            return false;
        case duckdb::LogicalTypeId::USER:
            return lower_name(duckdb::UserType::GetTypeName(type)) == "json";
        case duckdb::LogicalTypeId::LIST:
            return is_allowed_type(duckdb::ListType::GetChildType(type), depth + 1);
        case duckdb::LogicalTypeId::ARRAY: {
            constexpr duckdb::idx_t kArrayMax = 1'000;
            return duckdb::ArrayType::GetSize(type) <= kArrayMax &&
                   is_allowed_type(duckdb::ArrayType::GetChildType(type), depth + 1);
        }
        case duckdb::LogicalTypeId::MAP:
            return is_allowed_type(duckdb::MapType::KeyType(type), depth + 1) &&
                   is_allowed_type(duckdb::MapType::ValueType(type), depth + 1);
        case duckdb::LogicalTypeId::STRUCT:
            return std::ranges::all_of(
                duckdb::StructType::GetChildTypes(type),
                [depth](const auto& child) { return is_allowed_type(child.second, depth + 1); });
        default:
            return true;
    }
}

std::size_t type_weight(const duckdb::LogicalType& type) {
    std::size_t weight = 1;
    if (type.id() == duckdb::LogicalTypeId::STRUCT) {
        for (const auto& child : duckdb::StructType::GetChildTypes(type)) {
            weight += type_weight(child.second);
        }
    } else if (type.id() == duckdb::LogicalTypeId::LIST) {
        weight = type_weight(duckdb::ListType::GetChildType(type));
    }
    return weight;
}

/// The '*' that ORDER BY ALL is.
bool is_all(const ParsedExpression& expression) {
    if (expression.GetExpressionClass() != ExpressionClass::STAR) {
        return false;
    }
    const auto& star = expression.Cast<duckdb::StarExpression>();
    return star.expr == nullptr && star.exclude_list.empty() && star.replace_list.empty() &&
           star.rename_list.empty();
}

bool is_allowed_operator(duckdb::ExpressionType type) {
    switch (type) {
        case duckdb::ExpressionType::OPERATOR_NOT:
        case duckdb::ExpressionType::OPERATOR_IS_NULL:
        case duckdb::ExpressionType::OPERATOR_IS_NOT_NULL:
        case duckdb::ExpressionType::COMPARE_IN:
        case duckdb::ExpressionType::COMPARE_NOT_IN:
        case duckdb::ExpressionType::COMPARE_BETWEEN:
        case duckdb::ExpressionType::COMPARE_NOT_BETWEEN:
        case duckdb::ExpressionType::OPERATOR_NULLIF:
        case duckdb::ExpressionType::OPERATOR_COALESCE:
        case duckdb::ExpressionType::ARRAY_EXTRACT:
        case duckdb::ExpressionType::ARRAY_SLICE:
        case duckdb::ExpressionType::STRUCT_EXTRACT:
        case duckdb::ExpressionType::ARRAY_CONSTRUCTOR:
        case duckdb::ExpressionType::GROUPING_FUNCTION:
            return true;
        default:
            return false;
    }
}

class Guard {
public:
    Guard(const GuardLimits& limits,
          const std::function<Result<TableReplacement>(const GuardedTable&)>& replace)
        : limits_(limits), replace_(replace) {}

    /// Checks the whole statement.
    AddedDigits check_statement(QueryNode& node) {
        outermost_ = &node;
        while (outermost_->type == duckdb::QueryNodeType::CTE_NODE) {
            outermost_ = outermost_->Cast<duckdb::CTENode>().child.get();
        }
        check_node(node);
        return times_;
    }

private:
    GuardShape check_node(QueryNode& node) {
        descend();
        const auto outer_ctes = ctes_;
        drop_copies(node);
        for (auto& [name, cte] : node.cte_map.map) {
            if (dropped_.contains(cte.get())) {
                continue;
            }
            if (!cte->key_targets.empty()) {
                refuse(ErrorCode::kForbidden, "recursive queries are not allowed");
            }
            add_cte(name, cte->aliases, check_node(*cte->query->node));
        }
        GuardShape shape;
        switch (node.type) {
            case duckdb::QueryNodeType::SELECT_NODE:
                shape = check_select(node.Cast<duckdb::SelectNode>());
                break;
            case duckdb::QueryNodeType::SET_OPERATION_NODE:
                shape = check_set_operation(node.Cast<duckdb::SetOperationNode>());
                break;
            case duckdb::QueryNodeType::CTE_NODE: {
                auto& cte = node.Cast<duckdb::CTENode>();
                add_cte(cte.ctename, cte.aliases, check_node(*cte.query));
                // Copied at each mention, the plan would be exponential in the statement's length.
                cte.materialized = duckdb::CTEMaterialize::CTE_MATERIALIZE_DEFAULT;
                shape = check_node(*cte.child);
                break;
            }
            default:
                refuse(ErrorCode::kForbidden,
                       "this form of query is not allowed (recursive queries are not)");
        }
        ctes_ = outer_ctes;
        --depth_;
        count_columns(shape.columns, shape.column_weight);
        return shape;
    }

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

    void count_join() {
        if (++joins_ > limits_.joins_max) {
            refuse(
                ErrorCode::kInvalidArgument,
                fmt::format("more than {} joins and subqueries in expressions", limits_.joins_max));
        }
    }

    /// Planning takes time in proportion to the columns of all nodes.
    void count_columns(std::size_t columns, std::size_t weight) {
        columns_ += columns;
        // Beside plain columns there may be one that weighs much.
        columns_ += weight - 1;
        if (columns > limits_.columns_max || weight > limits_.columns_max ||
            columns_ > limits_.columns_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("the queries and scans of the statement have more than {} columns "
                               "together, every '*' and every member of a struct counted; name the "
                               "columns that are needed",
                               limits_.columns_max));
        }
    }

    void check_name(const std::string& name) const {
        if (name.size() > limits_.name_bytes_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format(
                       "a name of {} bytes, the limit is {}", name.size(), limits_.name_bytes_max));
        }
    }

    void add_cte(const std::string& name,
                 const duckdb::vector<duckdb::string>& aliases,
                 GuardShape shape) {
        if (!aliases.empty()) {
            shape.row_time.reset();
        }
        ctes_[lower_name(name)] = shape;
    }

    /// A WITH query is a node of its own and, copied, an entry of the maps of all nodes of its
    /// list; of those only the names are used. Inside another WITH query there are two such nodes,
    /// one in the other. The copies are dropped: they would be work (exponential in their depth),
    /// and a way past the guard if they were not looked at.
    void drop_copies(QueryNode& node) {
        std::map<std::string, const QueryNode*> queries;
        std::vector<QueryNode*> chain = {&node};
        while (chain.back()->type == duckdb::QueryNodeType::CTE_NODE) {
            auto& cte = chain.back()->Cast<duckdb::CTENode>();
            queries[lower_name(cte.ctename)] = cte.query.get();
            while (cte.child->type == duckdb::QueryNodeType::CTE_NODE) {
                auto& next = cte.child->Cast<duckdb::CTENode>();
                const auto known = queries.find(lower_name(next.ctename));
                if (known == queries.end() || !known->second->Equals(next.query.get())) {
                    break;
                }
                auto after = std::move(next.child);
                cte.child = std::move(after);
            }
            chain.push_back(cte.child.get());
        }
        for (auto* at : chain) {
            for (auto& [name, cte] : at->cte_map.map) {
                if (queries.contains(lower_name(name)) && cte->key_targets.empty() &&
                    dropped_.insert(cte.get()).second) {
                    cte->query = duckdb::unique_ptr<duckdb::SelectStatement>(
                        parse_own_select("SELECT NULL").release());
                    cte->aliases.clear();
                    cte->materialized = duckdb::CTEMaterialize::CTE_MATERIALIZE_DEFAULT;
                }
            }
        }
    }

    GuardShape check_set_operation(duckdb::SetOperationNode& node) {
        GuardScope own;
        std::swap(scope_, own);
        check_modifiers(node);
        std::swap(scope_, own);
        const auto left = check_node(*node.left);
        const auto right = check_node(*node.right);
        return {.columns = std::max(left.columns, right.columns),
                .column_weight = std::max(left.column_weight, right.column_weight),
                .row_time = std::nullopt};
    }

    void check_modifiers(QueryNode& node) {
        duckdb::ParsedExpressionIterator::EnumerateQueryNodeModifiers(
            node, [&](duckdb::unique_ptr<ParsedExpression>& child) {
                if (!is_all(*child)) {
                    check(child);
                }
            });
    }

    GuardShape check_select(duckdb::SelectNode& node) {
        if (node.sample != nullptr) {
            refuse(ErrorCode::kForbidden, "SAMPLE is not allowed");
        }
        if (node.groups.grouping_sets.size() > limits_.grouping_sets_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("more than {} grouping sets", limits_.grouping_sets_max));
        }
        // The tables of this FROM are known before its expressions; afterwards those around it are
        // again.
        GuardScope outer_scope;
        FullTextScope outer_text;
        std::swap(scope_, outer_scope);
        std::swap(full_text_, outer_text);
        const auto outer_weight = outer_weight_;
        outer_weight_ = std::max(outer_weight_, outer_scope.column_weight());
        if (node.from_table != nullptr) {
            check_table(node.from_table);
        }
        auto shape = check_select_list(node);
        for (auto* child : {&node.where_clause, &node.having, &node.qualify}) {
            if (*child != nullptr) {
                check(*child);
            }
        }
        for (auto& child : node.groups.group_expressions) {
            check(child);
        }
        check_modifiers(node);
        if (&node == outermost_) {
            times_ = add_time_digits(node, scope_);
        }
        outer_weight_ = outer_weight;
        std::swap(scope_, outer_scope);
        std::swap(full_text_, outer_text);
        return shape;
    }

    GuardShape check_select_list(duckdb::SelectNode& node) {
        GuardShape shape{.columns = 0, .column_weight = 1, .row_time = find_row_time(node, scope_)};
        for (auto& item : node.select_list) {
            if (item->GetExpressionClass() == ExpressionClass::STAR) {
                shape.columns += check_star(item->Cast<duckdb::StarExpression>());
                shape.column_weight = std::max(shape.column_weight, scope_.column_weight());
                continue;
            }
            ++shape.columns;
            const auto kind = item->GetExpressionClass();
            const bool named = item->HasAlias() || kind == ExpressionClass::COLUMN_REF;
            const auto name = named ? std::string() : item->ToString();
            shape.column_weight = std::max(shape.column_weight, check(item));
            // What was rewritten keeps the name that the user's words would have given it.
            if (!named && item->ToString() != name) {
                item->SetAlias(name);
            }
        }
        return shape;
    }

    /// The columns that a '*' of a select list stands for.
    std::size_t check_star(duckdb::StarExpression& star) {
        descend();
        if (star.columns || star.expr != nullptr) {
            refuse(ErrorCode::kForbidden,
                   "COLUMNS(…) and patterns are not allowed; name the columns");
        }
        for (const auto& excluded : star.exclude_list) {
            descend();
            --depth_;
            check_name(excluded.column);
        }
        for (auto& [name, replacement] : star.replace_list) {
            check_name(name);
            check(replacement);
        }
        for (const auto& [renamed, name] : star.rename_list) {
            descend();
            --depth_;
            check_name(renamed.column);
            check_name(name);
        }
        --depth_;
        if (star.relation_name.empty()) {
            return scope_.columns();
        }
        const auto* relation = scope_.only(lower_name(star.relation_name));
        return relation == nullptr ? scope_.columns() : relation->shape.columns;
    }

    void check_table(duckdb::unique_ptr<TableRef>& table) {
        descend();
        if (table->sample != nullptr) {
            refuse(ErrorCode::kForbidden, "TABLESAMPLE is not allowed");
        }
        switch (table->type) {
            case duckdb::TableReferenceType::BASE_TABLE:
                check_base_table(table);
                break;
            case duckdb::TableReferenceType::SUBQUERY: {
                auto& subquery = table->Cast<duckdb::SubqueryRef>();
                // A lateral subquery sees the tables before it, but its own FROM comes first.
                const auto shape = check_node(*subquery.subquery->node);
                add_relation(*table, table->alias, shape);
                break;
            }
            case duckdb::TableReferenceType::JOIN:
                check_join(table->Cast<duckdb::JoinRef>());
                break;
            case duckdb::TableReferenceType::EXPRESSION_LIST:
                check_values(*table);
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

    void check_join(duckdb::JoinRef& join) {
        count_join();
        if (!join.duplicate_eliminated_columns.empty()) {
            refuse(ErrorCode::kForbidden, "this kind of join is not allowed");
        }
        check_table(join.left);
        check_table(join.right);
        count_columns(scope_.columns(), 1);
        for (const auto& name : join.using_columns) {
            check_name(name);
        }
        if (join.condition != nullptr) {
            check(join.condition);
        }
    }

    void check_values(TableRef& table) {
        auto& values = table.Cast<duckdb::ExpressionListRef>().values;
        GuardShape shape;
        for (auto& row : values) {
            shape.columns = std::max(shape.columns, row.size());
            for (auto& value : row) {
                shape.column_weight = std::max(shape.column_weight, check(value));
            }
        }
        add_relation(table, table.alias, shape);
    }

    void check_base_table(duckdb::unique_ptr<TableRef>& table) {
        auto& base = table->Cast<duckdb::BaseTableRef>();
        check_name(base.table_name);
        if (base.at_clause != nullptr || !base.catalog_name.empty()) {
            refuse(ErrorCode::kForbidden,
                   fmt::format("'{}' is not a stream; streams are written logs.<name>",
                               base.ToString()));
        }
        const auto name = base.alias.empty() ? base.table_name : base.alias;
        if (base.schema_name.empty()) {
            if (const auto cte = ctes_.find(lower_name(base.table_name)); cte != ctes_.end()) {
                count_columns(cte->second.columns, cte->second.column_weight);
                add_relation(*table, name, cte->second);
                return;
            }
        }
        if (++mentions_ > limits_.mentions_max) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("streams are named more than {} times", limits_.mentions_max));
        }
        auto replacement = replace_({.schema = base.schema_name, .name = base.table_name});
        if (!replacement) {
            throw Refused{std::move(replacement).error()};
        }
        if (++full_text_.streams == 1) {
            full_text_.columns = replacement->full_text_columns;
        }
        count_columns(replacement->columns + 2 * replacement->scanned_columns, 1);
        add_relation(
            *table, name, {.columns = replacement->columns, .column_weight = 1, .row_time = 0});
        auto select = parse_own_select(replacement->subquery);
        auto subquery = duckdb::make_uniq<duckdb::SubqueryRef>(
            duckdb::unique_ptr<duckdb::SelectStatement>(select.release()), name);
        subquery->column_name_alias = base.column_name_alias;
        table = std::move(subquery);
    }

    void add_relation(const TableRef& table, const std::string& name, GuardShape shape) {
        check_name(name);
        for (const auto& column : table.column_name_alias) {
            check_name(column);
        }
        if (!table.column_name_alias.empty()) {
            shape.row_time.reset();
        }
        scope_.relations.push_back({.name = lower_name(name), .shape = shape});
    }

    /// Returns how much the expression's value weighs.
    std::size_t check(duckdb::unique_ptr<ParsedExpression>& expression) {
        descend();
        std::size_t weight = 1;
        switch (expression->GetExpressionClass()) {
            case ExpressionClass::COLUMN_REF:
                drop_stream_type(expression->Cast<duckdb::ColumnRefExpression>());
                weight = std::max(scope_.column_weight(), outer_weight_);
                break;
            case ExpressionClass::LAMBDA:
                expression = arrow_call(expression->Cast<duckdb::LambdaExpression>());
                break;
            case ExpressionClass::CAST: {
                const auto& type = expression->Cast<duckdb::CastExpression>().cast_type;
                if (!is_allowed_type(type)) {
                    refuse(ErrorCode::kForbidden,
                           fmt::format("the type {} is not allowed", type.ToString()));
                }
                weight = type_weight(type);
                break;
            }
            case ExpressionClass::CASE:
            case ExpressionClass::COMPARISON:
            case ExpressionClass::CONJUNCTION:
            case ExpressionClass::CONSTANT:
            case ExpressionClass::POSITIONAL_REFERENCE:
            case ExpressionClass::BETWEEN:
                break;
            case ExpressionClass::OPERATOR:
                if (!is_allowed_operator(expression->GetExpressionType())) {
                    refuse(ErrorCode::kForbidden,
                           fmt::format("'{}' is not allowed here", expression->ToString()));
                }
                break;
            case ExpressionClass::SUBQUERY:
                count_join();
                weight = check_node(*expression->Cast<duckdb::SubqueryExpression>().subquery->node)
                             .column_weight;
                break;
            case ExpressionClass::WINDOW:
                guard_window(expression->Cast<duckdb::WindowExpression>());
                break;
            case ExpressionClass::FUNCTION:
                break;
            case ExpressionClass::STAR:
                refuse(ErrorCode::kForbidden, "'*' is allowed in a select list only");
            default:
                refuse(ErrorCode::kForbidden,
                       fmt::format("'{}' is not allowed here", expression->ToString()));
        }
        weight = std::max(weight, check_children(*expression));
        count_columns(0, weight);
        if (expression->GetExpressionClass() == ExpressionClass::FUNCTION) {
            auto replacement =
                guard_call(expression->Cast<duckdb::FunctionExpression>(), full_text_);
            if (replacement != nullptr) {
                expression = duckdb::unique_ptr<ParsedExpression>(replacement.release());
            }
        }
        --depth_;
        return weight;
    }

    /// Returns what a value that holds the children's weighs.
    std::size_t check_children(ParsedExpression& expression) {
        std::size_t sum = 0;
        std::size_t most = 0;
        duckdb::ParsedExpressionIterator::EnumerateChildren(
            expression, [&](duckdb::unique_ptr<ParsedExpression>& child) {
                const auto weight = check(child);
                sum += weight;
                most = std::max(most, weight);
            });
        if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
            const auto& name = expression.Cast<duckdb::FunctionExpression>().function_name;
            if (name == "struct_pack" || name == "row") {
                return sum + 1;
            }
        }
        return most;
    }

    /// json -> path: the parser takes it for a lambda, which no function of ours has.
    static duckdb::unique_ptr<ParsedExpression> arrow_call(duckdb::LambdaExpression& lambda) {
        if (lambda.lhs == nullptr) {
            refuse(ErrorCode::kForbidden, "lambdas are not allowed");
        }
        duckdb::vector<duckdb::unique_ptr<ParsedExpression>> arguments;
        arguments.push_back(std::move(lambda.lhs));
        arguments.push_back(std::move(lambda.expr));
        auto call =
            duckdb::make_uniq<duckdb::FunctionExpression>("json_extract", std::move(arguments));
        call->SetAlias(lambda.GetAlias());
        return call;
    }

    /// logs.app.level → app.level: the subquery that stands for the stream has the name alone.
    void drop_stream_type(duckdb::ColumnRefExpression& column) const {
        auto& names = column.column_names;
        for (const auto& name : names) {
            check_name(name);
        }
        constexpr std::size_t kTypeStreamColumn = 3;
        if (names.size() > kTypeStreamColumn) {
            refuse(ErrorCode::kInvalidArgument,
                   fmt::format("a column is written with at most {} names, such as logs.app.level",
                               kTypeStreamColumn));
        }
        if (names.size() == kTypeStreamColumn && parse_stream_type(lower_name(names[0]))) {
            names.erase(names.begin());
        }
    }

    const GuardLimits& limits_;
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace_;
    std::map<std::string, GuardShape> ctes_;
    std::set<const duckdb::CommonTableExpressionInfo*> dropped_;
    GuardScope scope_;
    FullTextScope full_text_;
    const QueryNode* outermost_ = nullptr;
    AddedDigits times_;
    std::size_t outer_weight_ = 1;
    std::size_t depth_ = 0;
    std::size_t terms_ = 0;
    std::size_t joins_ = 0;
    std::size_t mentions_ = 0;
    std::size_t columns_ = 0;
};

/// The query of a statement that may be looked at: a SELECT, or EXPLAIN of one.
QueryNode& query_of(duckdb::SQLStatement& statement) {
    if (statement.type == duckdb::StatementType::EXPLAIN_STATEMENT) {
        auto& explain = statement.Cast<duckdb::ExplainStatement>();
        if (explain.explain_type != duckdb::ExplainType::EXPLAIN_STANDARD ||
            (explain.explain_format != duckdb::ExplainFormat::DEFAULT &&
             explain.explain_format != duckdb::ExplainFormat::TEXT &&
             explain.explain_format != duckdb::ExplainFormat::JSON) ||
            explain.stmt->type != duckdb::StatementType::SELECT_STATEMENT) {
            refuse(ErrorCode::kForbidden,
                   "only SELECT, EXPLAIN SELECT and EXPLAIN (FORMAT json) SELECT are allowed");
        }
        return query_of(*explain.stmt);
    }
    if (statement.type != duckdb::StatementType::SELECT_STATEMENT) {
        refuse(ErrorCode::kForbidden, "only SELECT is allowed");
    }
    return *statement.Cast<duckdb::SelectStatement>().node;
}

}  // namespace

std::unique_ptr<duckdb::SelectStatement> parse_own_select(const std::string& text) {
    duckdb::Parser parser;
    parser.ParseQuery(text);
    auto statement = std::move(parser.statements.at(0));
    return std::unique_ptr<duckdb::SelectStatement>(
        static_cast<duckdb::SelectStatement*>(statement.release()));
}

Result<GuardedStatement> guard_statement(
    std::string_view text,
    const GuardLimits& limits,
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace) try {
    MS_TRY_VOID(check_statement_text(text, limits));
    duckdb::Parser parser;
    parser.ParseQuery(std::string(text));
    if (parser.statements.size() != 1) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("one statement is wanted, not {}", parser.statements.size()));
    }
    GuardedStatement guarded;
    guarded.statement = std::move(parser.statements[0]);
    auto& query = query_of(*guarded.statement);
    auto added = Guard(limits, replace).check_statement(query);
    if (guarded.statement->type == duckdb::StatementType::SELECT_STATEMENT) {
        guarded.hidden_columns = added.hidden_columns;
        guarded.digits = std::move(added.digits);
    } else {
        guarded.explain = guarded.statement->Cast<duckdb::ExplainStatement>().explain_format ==
                                  duckdb::ExplainFormat::JSON
                              ? ExplainForm::kJson
                              : ExplainForm::kText;
    }
    return guarded;
} catch (const Refused& refused) {
    return refused.error;
} catch (const std::bad_alloc&) {
    throw;  // The query's memory.
} catch (const std::exception& exception) {
    // The only other thrower is DuckDB's parser.
    return Error(ErrorCode::kInvalidArgument, duckdb::ErrorData(exception).RawMessage());
}

}  // namespace molesignal
