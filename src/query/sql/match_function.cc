// ms_match(text, query): token search as a DuckDB scalar function; NULL is false.
#include <duckdb.hpp>
#include <duckdb/common/vector_operations/binary_executor.hpp>
#include <duckdb/execution/expression_executor.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/planner/expression/bound_function_expression.hpp>

#include "query/sql/engine_instance.h"
#include "query/text_match.h"

namespace molesignal {
namespace {

struct MatchData final : duckdb::FunctionData {
    explicit MatchData(TextMatch compiled) : match(std::move(compiled)) {}
    duckdb::unique_ptr<duckdb::FunctionData> Copy() const override {
        return duckdb::make_uniq<MatchData>(match);
    }
    bool Equals(const duckdb::FunctionData&) const override { return false; }
    TextMatch match;
};

duckdb::unique_ptr<duckdb::FunctionData> bind_match(
    duckdb::ClientContext& context,
    duckdb::ScalarFunction&,
    duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& arguments) {
    const auto query = duckdb::ExpressionExecutor::EvaluateScalar(context, *arguments[1]);
    auto match = TextMatch::parse(query.IsNull() ? std::string() : query.ToString());
    if (!match) {
        throw duckdb::BinderException(match.error().message());
    }
    return duckdb::make_uniq<MatchData>(std::move(*match));
}

void run_match(duckdb::DataChunk& arguments,
               duckdb::ExpressionState& state,
               duckdb::Vector& result) {
    const auto& match =
        state.expr.Cast<duckdb::BoundFunctionExpression>().bind_info->Cast<MatchData>().match;
    const auto count = arguments.size();
    duckdb::UnifiedVectorFormat text;
    arguments.data[0].ToUnifiedFormat(count, text);
    const auto* values = duckdb::UnifiedVectorFormat::GetData<duckdb::string_t>(text);
    result.SetVectorType(duckdb::VectorType::FLAT_VECTOR);
    auto* out = duckdb::FlatVector::GetData<bool>(result);
    for (duckdb::idx_t i = 0; i < count; ++i) {
        const auto index = text.sel->get_index(i);
        out[i] = text.validity.RowIsValid(index) &&
                 match.matches(std::string_view(values[index].GetData(), values[index].GetSize()));
    }
    if (arguments.AllConstant()) {
        result.SetVectorType(duckdb::VectorType::CONSTANT_VECTOR);
    }
}

}  // namespace

void register_match(duckdb::DuckDB& database, duckdb::Connection& connection) {
    duckdb::ScalarFunction function("ms_match",
                                    {duckdb::LogicalType::VARCHAR, duckdb::LogicalType::VARCHAR},
                                    duckdb::LogicalType::BOOLEAN,
                                    run_match,
                                    bind_match);
    function.null_handling = duckdb::FunctionNullHandling::SPECIAL_HANDLING;
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        loader.RegisterFunction(function);
    });
}

}  // namespace molesignal
