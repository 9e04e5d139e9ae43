#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace duckdb {
class SelectStatement;
}  // namespace duckdb

namespace molesignal {

/// A stream that the statement names.
struct GuardedTable {
    std::string schema;  ///< "logs", … or empty.
    std::string name;
};

/// What stands in for a stream: the text of a SELECT, and the columns that match_all searches.
struct TableReplacement {
    std::string subquery;
    std::vector<std::string> full_text_columns;
};

struct GuardLimits {
    std::size_t statement_bytes_max = 64U << 10U;
    std::size_t depth_max = 100;
    std::size_t terms_max = 2000;
    std::size_t joins_max = 16;
};

/// Parses user SQL, refuses everything that is not allowed, and rewrites the rest (reliability:
/// deny by default). One SELECT; streams, subqueries, joins, CTEs and VALUES as tables; functions
/// of a list.
///
/// `replace` is called for each mention of a stream.
/// kInvalidArgument: syntax or size; kForbidden: not allowed; or what `replace` returns. Throws
/// nothing. Thread-safe.
Result<std::unique_ptr<duckdb::SelectStatement>> guard_statement(
    std::string_view statement,
    const GuardLimits& limits,
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace);

/// Parses text of our own, a single SELECT.
std::unique_ptr<duckdb::SelectStatement> parse_own_select(const std::string& text);

/// Whether a function may be called by users.
bool is_allowed_function(std::string_view name);

}  // namespace molesignal
