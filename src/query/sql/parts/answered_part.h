#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <duckdb.hpp>
#include <duckdb/common/multi_file/multi_file_reader.hpp>
#include <duckdb/planner/table_filter.hpp>

#include "query/sql/parts/scan_parts.h"

namespace molesignal {

/// What a reader of a part is asked for: columns, and filters by their places.
struct ReaderDemand {
    duckdb::vector<duckdb::ColumnIndex> columns;
    duckdb::unique_ptr<duckdb::TableFilterSet> filters;  ///< Null: none.
};

/// What a scan hands on of the rows of its parts, and which rows.
class ScanOutput {
public:
    /// `shown` are places in `columns`; empty: all. The references outlive the object.
    ScanOutput(const ScanParts& parts,
               const duckdb::vector<duckdb::ColumnIndex>& columns,
               const duckdb::vector<duckdb::idx_t>& shown);
    /// Adds the filters of a scan, which know columns by their places in `columns`, or those of a
    /// plan, which know them by themselves. They outlive the object.
    void filter_scan(const duckdb::TableFilterSet& filters);
    void filter_plan(const duckdb::TableFilterSet& filters);

    /// Nothing, or one column of texts.
    bool is_countable() const { return !has_others_; }
    std::optional<std::size_t> text() const { return text_; }
    /// Whether certainly all chosen rows of a part pass the filters.
    bool has_all_rows_of(const ChosenPart& chosen) const;
    /// Of a scan: what is to be read of a part. Filters that all chosen rows pass are left out, and
    /// columns that nobody else wants.
    ReaderDemand demand_of(const ChosenPart& chosen) const;

private:
    using Filters = std::map<duckdb::idx_t, duckdb::unique_ptr<duckdb::TableFilter>>;
    /// Those that not certainly all chosen rows pass.
    Filters filters_left(const ChosenPart& chosen) const;
    /// What is left of a filter on `column`; null: nothing.
    duckdb::unique_ptr<duckdb::TableFilter> left_of(const duckdb::TableFilter& filter,
                                                    std::size_t column,
                                                    const ChosenPart& chosen) const;
    bool is_shown(duckdb::idx_t place) const;

    const ScanParts& parts_;
    const duckdb::vector<duckdb::ColumnIndex>& columns_;
    const duckdb::vector<duckdb::idx_t>& shown_;
    const duckdb::TableFilterSet* filters_ = nullptr;
    std::vector<std::uint64_t> filtered_;  ///< By what the filters know a column by.
    std::optional<std::size_t> text_;
    bool has_others_ = false;
};

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

/// Part `at` of a list without its file, if a scan wants no more of it than the catalogue or an
/// index has counted; else null.
duckdb::shared_ptr<AnsweredPart> answer_part(InstanceState& state,
                                             const ScanParts& parts,
                                             std::size_t at,
                                             const ScanOutput& output);

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
