#pragma once

#include <memory>
#include <string>

#include "common/result.h"

namespace duckdb {
class DataChunk;
class QueryResult;
}  // namespace duckdb

namespace molesignal {

/// Writes DuckDB's rows as an Arrow IPC stream. One thread at a time.
class ArrowStream {
public:
    /// `result` outlives the stream and is asked for its schema only; of its columns the first
    /// `columns` are written.
    ArrowStream(duckdb::QueryResult& result, std::size_t columns);
    ~ArrowStream();
    /// Appends a record batch of rows [from, to) (and the schema before the first).
    Result<> append(duckdb::DataChunk& chunk, std::size_t from, std::size_t to, std::string& out);
    /// Appends the end of the stream (and the schema if there was no row).
    Result<> finish(std::string& out);

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace molesignal
