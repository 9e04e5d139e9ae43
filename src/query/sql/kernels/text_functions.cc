// ms_like(text, pattern, escape), ms_contains(text, part) and ms_position(text, part): what
// DuckDB's own do in time proportional to the product of both lengths, or worse, in time
// proportional to the text's (LIKE with '_': to the product with the longest run that holds one).
#include <algorithm>
#include <cstring>
#include <optional>

#include <duckdb.hpp>
#include <duckdb/common/vector_operations/binary_executor.hpp>
#include <duckdb/common/vector_operations/ternary_executor.hpp>
#include <duckdb/main/extension/extension_loader.hpp>

#include "query/sql/kernels/kernel_steps.h"
#include "query/sql/kernels/kernels.h"
#include "query/sql/kernels/like_pattern.h"

namespace molesignal {
namespace {

std::string_view view(const duckdb::string_t& text) {
    return {text.GetData(), text.GetSize()};
}

std::size_t find_part(std::string_view text, std::string_view part) {
    // glibc's memmem takes linear time; std::string_view::find does not.
    const auto* found =
        static_cast<const char*>(::memmem(text.data(), text.size(), part.data(), part.size()));
    return found == nullptr ? std::string_view::npos
                            : static_cast<std::size_t>(found - text.data());
}

void run_like(duckdb::DataChunk& arguments,
              duckdb::ExpressionState& state,
              duckdb::Vector& result) {
    KernelSteps steps(state);
    // A pattern is mostly the same for all rows.
    std::optional<LikePattern> compiled;
    std::string pattern;
    std::string escape;
    duckdb::TernaryExecutor::Execute<duckdb::string_t, duckdb::string_t, duckdb::string_t, bool>(
        arguments.data[0],
        arguments.data[1],
        arguments.data[2],
        result,
        arguments.size(),
        [&](const duckdb::string_t& text,
            const duckdb::string_t& new_pattern,
            const duckdb::string_t& new_escape) {
            if (!compiled.has_value() || pattern != view(new_pattern) ||
                escape != view(new_escape)) {
                pattern = view(new_pattern);
                escape = view(new_escape);
                auto parsed = LikePattern::parse(pattern, escape);
                if (!parsed) {
                    throw duckdb::InvalidInputException(parsed.error().message());
                }
                compiled = std::move(*parsed);
                steps.count(pattern.size() * 4);
            }
            return compiled->matches(view(text),
                                     [&steps](std::uint64_t work) { steps.count(work); });
        });
}

void run_contains(duckdb::DataChunk& arguments,
                  duckdb::ExpressionState& state,
                  duckdb::Vector& result) {
    KernelSteps steps(state);
    duckdb::BinaryExecutor::Execute<duckdb::string_t, duckdb::string_t, bool>(
        arguments.data[0],
        arguments.data[1],
        result,
        arguments.size(),
        [&](const duckdb::string_t& text, const duckdb::string_t& part) {
            steps.count(text.GetSize() + part.GetSize());
            return find_part(view(text), view(part)) != std::string_view::npos;
        });
}

void run_position(duckdb::DataChunk& arguments,
                  duckdb::ExpressionState& state,
                  duckdb::Vector& result) {
    KernelSteps steps(state);
    duckdb::BinaryExecutor::Execute<duckdb::string_t, duckdb::string_t, std::int64_t>(
        arguments.data[0],
        arguments.data[1],
        result,
        arguments.size(),
        [&](const duckdb::string_t& text, const duckdb::string_t& part) -> std::int64_t {
            steps.count(text.GetSize() + part.GetSize());
            const auto at = find_part(view(text), view(part));
            if (at == std::string_view::npos) {
                return 0;
            }
            // Characters before it, and one.
            return 1 + std::ranges::count_if(view(text).substr(0, at), [](char c) {
                       return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
                   });
        });
}

}  // namespace

void register_text_functions(duckdb::DuckDB& database, duckdb::Connection& connection) {
    const auto text = duckdb::LogicalType::VARCHAR;
    duckdb::ScalarFunction like(
        "ms_like", {text, text, text}, duckdb::LogicalType::BOOLEAN, run_like);
    duckdb::ScalarFunction contains(
        "ms_contains", {text, text}, duckdb::LogicalType::BOOLEAN, run_contains);
    duckdb::ScalarFunction position(
        "ms_position", {text, text}, duckdb::LogicalType::BIGINT, run_position);
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        // `like` fails for a pattern that is none, which is a constant nearly always; it is not
        // said to, so that DuckDB hands it to scans.
        for (auto* function : {&like, &contains, &position}) {
            loader.RegisterFunction(*function);
        }
    });
}

}  // namespace molesignal
