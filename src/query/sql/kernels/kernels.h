#pragma once

namespace duckdb {
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

}  // namespace molesignal
