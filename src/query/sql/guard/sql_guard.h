#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace duckdb {
class SQLStatement;
class SelectStatement;
}  // namespace duckdb

namespace molesignal {

/// A stream that the statement names.
struct GuardedTable {
    std::string schema;  ///< "logs", … or empty.
    std::string name;
};

/// What stands in for a stream: the text of a SELECT, its columns, and those that match_all
/// searches. The first column is `_timestamp`; `_timestamp_nanos` is among them.
struct TableReplacement {
    std::string subquery;
    std::size_t columns = 0;
    std::size_t scanned_columns = 0;  ///< Of the scans inside.
    std::vector<std::string> full_text_columns;
};

/// Limits of one statement; docs/decisions/0012-statement-limits.md has what they were measured by.
struct GuardLimits {
    std::size_t statement_bytes_max = 64U << 10U;
    std::size_t with_bytes_max = 4U
                                 << 20U;  ///< Of the copies that the parser makes of WITH queries.
    std::size_t depth_max = 100;          ///< Of expressions, subqueries and brackets.
    std::size_t terms_max = 2'000;        ///< Of expressions, tables and queries.
    std::size_t joins_max = 12;           ///< Subqueries in expressions count: they become joins.
    std::size_t mentions_max = 64;        ///< Of streams.
    std::size_t columns_max = 150'000;  ///< Of all queries and scans in it, every '*' written out.
    std::size_t grouping_sets_max = 64;
    std::size_t name_bytes_max = 4'096;
};

/// A column of the answer whose times have three more digits in another one.
struct TimeDigits {
    std::size_t column = 0;
    bool from_end = false;   ///< `column` counts from the last shown column, which is 0.
    std::size_t hidden = 0;  ///< Which of the hidden columns has the digits.
};

/// What EXPLAIN answers in.
enum class ExplainForm : std::uint8_t { kText = 1, kJson = 2 };

struct GuardedStatement {
    std::unique_ptr<duckdb::SQLStatement> statement;
    /// The last columns of the answer that were added and are not shown.
    std::size_t hidden_columns = 0;
    std::vector<TimeDigits> digits;
    std::optional<ExplainForm> explain;  ///< The statement is to be explained, not run.
};

/// Parses user SQL, refuses everything that is not allowed, and rewrites the rest (reliability:
/// deny by default). One SELECT, or EXPLAIN of one; streams, subqueries, joins, CTEs and VALUES as
/// tables; functions of a list. What is accepted is planned within about a second.
///
/// `replace` is called for each mention of a stream.
/// kInvalidArgument: syntax or size; kForbidden: not allowed; or what `replace` returns. Throws
/// nothing but std::bad_alloc. Thread-safe.
Result<GuardedStatement> guard_statement(
    std::string_view statement,
    const GuardLimits& limits,
    const std::function<Result<TableReplacement>(const GuardedTable&)>& replace);

/// Parses text of our own, a single SELECT.
std::unique_ptr<duckdb::SelectStatement> parse_own_select(const std::string& text);

}  // namespace molesignal
