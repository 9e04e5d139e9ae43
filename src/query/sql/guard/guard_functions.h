#pragma once

#include <memory>
#include <string>
#include <vector>

namespace duckdb {
class FunctionExpression;
class ParsedExpression;
class WindowExpression;
}  // namespace duckdb

namespace molesignal {

/// What match_all searches where it stands.
struct FullTextScope {
    std::size_t streams = 0;  ///< In the FROM around it.
    std::vector<std::string> columns;
};

/// Checks a call whose arguments were checked: the function is allowed, its arguments keep to its
/// rule. Throws Refused.
///
/// Returns what stands for the call, or null: the call itself.
std::unique_ptr<duckdb::ParsedExpression> guard_call(duckdb::FunctionExpression& call,
                                                     const FullTextScope& scope);
void guard_window(duckdb::WindowExpression& call);

}  // namespace molesignal
