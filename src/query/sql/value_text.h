#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace duckdb {
class DataChunk;
}  // namespace duckdb

namespace molesignal {

/// What of a chunk's columns is shown.
struct RowLayout {
    /// Names of the shown columns, which are the first of the chunk.
    std::vector<std::string> names;
    /// By shown column: the column of the chunk with the last three digits of this one's times.
    std::vector<std::optional<std::size_t>> nanos;
};

/// The rows of one chunk as text, without loss. Each verb appends one row and answers whether it
/// fits: if `out` would become longer than `bytes_max`, it is left as it was. One thread at a time;
/// the chunk outlives the object and is flattened.
class ChunkText {
public:
    ChunkText(duckdb::DataChunk& chunk, const RowLayout& layout);
    ~ChunkText();

    /// A JSON array.
    bool append_json(std::size_t row, std::string& out, std::size_t bytes_max) const;
    /// A JSON object and a line end.
    bool append_ndjson(std::size_t row, std::string& out, std::size_t bytes_max) const;
    /// A CSV line (RFC 4180, CRLF).
    bool append_csv(std::size_t row, std::string& out, std::size_t bytes_max) const;
    /// About how many bytes the row's values take, in any form: at least the bytes of its texts.
    std::size_t row_bytes(std::size_t row) const;

private:
    struct Column;
    const RowLayout& layout_;
    std::vector<std::string> names_json_;
    std::vector<Column> columns_;
};

/// The line of a CSV answer that names the columns.
std::string csv_header(const RowLayout& layout);

/// A JSON string literal; bytes that are not UTF-8 become U+FFFD. False once `out` is longer than
/// `bytes_max`.
bool append_json_literal(std::string_view text, std::string& out, std::size_t bytes_max = SIZE_MAX);

}  // namespace molesignal
