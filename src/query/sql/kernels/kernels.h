#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "query/regex_literals.h"

namespace duckdb {
class BoundFunctionExpression;
class Connection;
class DuckDB;
}  // namespace duckdb

namespace molesignal {

/// Registers functions of ours: `ms_match`; `ms_like`, `ms_contains`, `ms_position`; `ms_regexp_…`.
void register_match(duckdb::DuckDB& database, duckdb::Connection& connection);
void register_text_functions(duckdb::DuckDB& database, duckdb::Connection& connection);
void register_regex_functions(duckdb::DuckDB& database, duckdb::Connection& connection);
/// Makes functions and casts of TIMESTAMP WITH TIME ZONE quick for an instance whose zone is UTC
/// and stays so: time_bucket, date_trunc, the parts of a time by their names, casts to TIMESTAMP
/// and DATE. They answer what they answered.
void register_utc_functions(duckdb::DuckDB& database, duckdb::Connection& connection);
/// Counts distinct values by sets of 128-bit hashes of texts and of the values themselves
/// elsewhere, for every count(DISTINCT x) of a plan. A set takes 20 to 60 bytes a text and is not
/// spilled.
void register_distinct_counts(duckdb::DuckDB& database);

/// What a bound call of `ms_regexp_matches` or `ms_regexp_full_match` asks of its text.
struct RegexCondition {
    std::string pattern;
    RegexMode mode;
    bool is_whole = false;  ///< The pattern must match from begin to end.
    /// Whether a text matches. Null: for a few thousand texts that may take too long.
    std::function<bool(std::string_view)> matches;
};
/// Nothing: another function.
std::optional<RegexCondition> regex_condition(const duckdb::BoundFunctionExpression& call);

}  // namespace molesignal
