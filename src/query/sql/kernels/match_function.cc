// ms_match(text, query): token search as a DuckDB scalar function; NULL is false.
#include <duckdb.hpp>
#include <duckdb/common/vector_operations/binary_executor.hpp>
#include <duckdb/execution/expression_executor.hpp>
#include <duckdb/execution/expression_executor_state.hpp>
#include <duckdb/main/client_context.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/planner/expression/bound_function_expression.hpp>

#include "query/sql/kernels/kernel_steps.h"
#include "query/sql/kernels/kernels.h"
#include "query/text_match.h"

namespace molesignal {
namespace {

struct MatchData final : duckdb::FunctionData {
    MatchData(std::string text, std::shared_ptr<const TextMatch> compiled)
        : query(std::move(text)), match(std::move(compiled)) {}
    duckdb::unique_ptr<duckdb::FunctionData> Copy() const override {
        return duckdb::make_uniq<MatchData>(query, match);
    }
    bool Equals(const duckdb::FunctionData& other) const override {
        return query == other.Cast<MatchData>().query;
    }
    std::string query;
    std::shared_ptr<const TextMatch> match;  ///< Shared by the copies that the planner makes.
};

duckdb::unique_ptr<duckdb::FunctionData> bind_match(
    duckdb::ClientContext& context,
    duckdb::ScalarFunction&,
    duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& arguments) {
    const auto value = duckdb::ExpressionExecutor::EvaluateScalar(context, *arguments[1]);
    auto query = value.IsNull() ? std::string() : value.ToString();
    auto match = TextMatch::parse(query);
    if (!match) {
        throw duckdb::BinderException(match.error().message());
    }
    return duckdb::make_uniq<MatchData>(std::move(query),
                                        std::make_shared<const TextMatch>(std::move(*match)));
}

void run_match(duckdb::DataChunk& arguments,
               duckdb::ExpressionState& state,
               duckdb::Vector& result) {
    const auto& match =
        *state.expr.Cast<duckdb::BoundFunctionExpression>().bind_info->Cast<MatchData>().match;
    KernelSteps steps(state);
    const auto count = arguments.AllConstant() ? 1 : arguments.size();
    duckdb::UnifiedVectorFormat text;
    arguments.data[0].ToUnifiedFormat(count, text);
    const auto* values = duckdb::UnifiedVectorFormat::GetData<duckdb::string_t>(text);
    result.SetVectorType(duckdb::VectorType::FLAT_VECTOR);
    auto* out = duckdb::FlatVector::GetData<bool>(result);
    for (duckdb::idx_t i = 0; i < count; ++i) {
        const auto index = text.sel->get_index(i);
        out[i] = text.validity.RowIsValid(index) &&
                 match.matches(std::string_view(values[index].GetData(), values[index].GetSize()));
        steps.count(text.validity.RowIsValid(index) ? values[index].GetSize() * 4 : 1);
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
