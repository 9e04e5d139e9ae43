#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace duckdb {
class DataChunk;
class LogicalType;
class Value;
}  // namespace duckdb

namespace molesignal {

/// Appends rows of `chunk` as JSON arrays, each after a comma unless `first`.
void append_json_rows(duckdb::DataChunk& chunk, bool first, std::string& out);
/// Appends rows as JSON objects, a line each. `names` are JSON strings already.
void append_ndjson_rows(duckdb::DataChunk& chunk,
                        const std::vector<std::string>& names,
                        std::string& out);
/// Appends rows as CSV lines (RFC 4180, CRLF).
void append_csv_rows(duckdb::DataChunk& chunk, std::string& out);
/// One CSV field: quoted where needed.
void append_csv_text(std::string_view text, std::string& out);
/// A JSON string literal; bytes that are not UTF-8 become U+FFFD.
void append_json_literal(std::string_view text, std::string& out);

}  // namespace molesignal
