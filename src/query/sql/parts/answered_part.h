#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <duckdb.hpp>
#include <duckdb/common/multi_file/multi_file_reader.hpp>

namespace molesignal {

/// Rows that have one value of a field; no value: none of it.
struct ValueRun {
    std::optional<std::string> value;
    std::int64_t rows = 0;
};

/// A part of which a scan wants no more than how many rows there are, or how many have each value
/// of one field. Its index or the catalogue knows that, so its Parquet file is not opened: the scan
/// gets as many rows, in vectors of one value each, which DuckDB adds up vector by vector.
class AnsweredPart final : public duckdb::BaseFileReader {
public:
    /// Rows without columns.
    AnsweredPart(duckdb::OpenFileInfo file, std::int64_t rows);
    /// Rows with `column`, a text.
    AnsweredPart(duckdb::OpenFileInfo file,
                 duckdb::MultiFileColumnDefinition column,
                 std::vector<ValueRun> runs);

    /// One thread reads it all.
    bool TryInitializeScan(duckdb::ClientContext& context,
                           duckdb::GlobalTableFunctionState& global,
                           duckdb::LocalTableFunctionState& local) override;
    void Scan(duckdb::ClientContext& context,
              duckdb::GlobalTableFunctionState& global,
              duckdb::LocalTableFunctionState& local,
              duckdb::DataChunk& chunk) override;
    std::string GetReaderType() const override { return "answered part"; }

private:
    std::vector<ValueRun> runs_;
    std::size_t run_ = 0;
    std::int64_t rows_done_ = 0;  ///< Of the run.
    bool is_taken_ = false;       ///< By a thread.
};

/// Stands for a part in a scan until it is known whether its file is opened.
class UnopenedPart final : public duckdb::BaseFileReader {
public:
    using BaseFileReader::BaseFileReader;
    [[noreturn]] bool TryInitializeScan(duckdb::ClientContext& context,
                                        duckdb::GlobalTableFunctionState& global,
                                        duckdb::LocalTableFunctionState& local) override;
    [[noreturn]] void Scan(duckdb::ClientContext& context,
                           duckdb::GlobalTableFunctionState& global,
                           duckdb::LocalTableFunctionState& local,
                           duckdb::DataChunk& chunk) override;
    std::string GetReaderType() const override { return "unopened part"; }
};

}  // namespace molesignal
