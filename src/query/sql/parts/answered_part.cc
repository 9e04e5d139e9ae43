#include "query/sql/parts/answered_part.h"

#include <algorithm>
#include <utility>

namespace molesignal {

AnsweredPart::AnsweredPart(duckdb::OpenFileInfo file, std::int64_t rows)
    : BaseFileReader(std::move(file)) {
    runs_.push_back({.value = std::nullopt, .rows = rows});
}

AnsweredPart::AnsweredPart(duckdb::OpenFileInfo file,
                           duckdb::MultiFileColumnDefinition column,
                           std::vector<ValueRun> runs)
    : BaseFileReader(std::move(file)), runs_(std::move(runs)) {
    columns.push_back(std::move(column));
}

bool AnsweredPart::TryInitializeScan(duckdb::ClientContext&,
                                     duckdb::GlobalTableFunctionState&,
                                     duckdb::LocalTableFunctionState&) {
    return !std::exchange(is_taken_, true);
}

void AnsweredPart::Scan(duckdb::ClientContext&,
                        duckdb::GlobalTableFunctionState&,
                        duckdb::LocalTableFunctionState&,
                        duckdb::DataChunk& chunk) {
    while (run_ < runs_.size() && rows_done_ == runs_[run_].rows) {
        ++run_;
        rows_done_ = 0;
    }
    if (run_ == runs_.size()) {
        chunk.SetCardinality(0);
        return;
    }
    const auto& [value, rows] = runs_[run_];
    const auto count = std::min<std::int64_t>(STANDARD_VECTOR_SIZE, rows - rows_done_);
    for (auto& column : chunk.data) {
        column.Reference(value.has_value() ? duckdb::Value(*value)
                                           : duckdb::Value(column.GetType()));
    }
    chunk.SetCardinality(static_cast<duckdb::idx_t>(count));
    rows_done_ += count;
}

bool UnopenedPart::TryInitializeScan(duckdb::ClientContext&,
                                     duckdb::GlobalTableFunctionState&,
                                     duckdb::LocalTableFunctionState&) {
    throw duckdb::InternalException("a part is scanned that was not opened");
}

void UnopenedPart::Scan(duckdb::ClientContext&,
                        duckdb::GlobalTableFunctionState&,
                        duckdb::LocalTableFunctionState&,
                        duckdb::DataChunk&) {
    throw duckdb::InternalException("a part is scanned that was not opened");
}

}  // namespace molesignal
