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

}  // namespace molesignal
