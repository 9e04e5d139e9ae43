#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "query/sql/guard/guard_shape.h"
#include "query/sql/guard/sql_guard.h"

namespace duckdb {
class SelectNode;
}  // namespace duckdb

namespace molesignal {

/// Where a SELECT's columns hold `_timestamp` and `_timestamp_nanos` of one row of a stream, both
/// through a '*'. `scope` has the tables of its FROM.
std::optional<std::size_t> find_row_time(const duckdb::SelectNode& node, const GuardScope& scope);

struct AddedDigits {
    std::size_t hidden_columns = 0;
    std::vector<TimeDigits> digits;
};

/// Lets the answer print all nine digits of a row's time: where the statement's own SELECT shows a
/// stream's `_timestamp` as it is, the row's `_timestamp_nanos` is added behind its columns
/// (docs/decisions/0013-nine-digits.md). Not where that could change the rows: with DISTINCT or
/// GROUP BY.
AddedDigits add_time_digits(duckdb::SelectNode& node, const GuardScope& scope);

}  // namespace molesignal
