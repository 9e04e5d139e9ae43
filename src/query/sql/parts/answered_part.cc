#include "query/sql/parts/answered_part.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "query/sql/parts/part_index.h"
#include "query/sql/parts/part_pruning.h"

namespace molesignal {
namespace {

/// The values of a column of texts in part `at`; nothing: its index does not list them.
std::optional<std::vector<ValueRun>> count_values(InstanceState& state,
                                                  const ScanParts& parts,
                                                  std::size_t at,
                                                  std::size_t column) {
    const auto& source = parts.source();
    const auto& part = *parts.parts()[at].part;
    if (part_bounds(part, source, column).kind == ColumnBounds::Kind::kAllNull) {
        return std::vector<ValueRun>{{.value = std::nullopt, .rows = part.rows}};
    }
    // What the index reads is not the query's; the runs are.
    const QueryMemory::Scope uncounted(nullptr);
    std::optional<std::vector<ValueCount>> counts;
    parts.read_indexes_ahead(at);
    if (auto index = PartIndex::find(state, part)) {
        counts = index->value_counts(source.schema.variants[column - ScanSource::kOwnColumns].id);
    }
    if (!counts.has_value()) {
        return std::nullopt;
    }
    state.note_index({.parts = 1, .parts_counted = 1});
    std::vector<ValueRun> runs;
    const QueryMemory::Scope counted(state.memory);
    auto without = part.rows;
    for (const auto& [value, rows] : *counts) {
        runs.push_back({.value = value, .rows = static_cast<std::int64_t>(rows)});
        without -= runs.back().rows;
    }
    runs.push_back({.value = std::nullopt, .rows = without});
    return runs;
}

}  // namespace

ScanOutput::ScanOutput(const ScanParts& parts,
                       const duckdb::vector<duckdb::ColumnIndex>& columns,
                       const duckdb::vector<duckdb::idx_t>& shown)
    : source_(parts.source()) {
    const auto count = shown.empty() ? columns.size() : shown.size();
    for (std::size_t i = 0; i < count; ++i) {
        const auto& id = columns[shown.empty() ? i : shown[i]];
        const auto column = id.GetPrimaryIndex();
        if (id.IsEmptyColumn() || (column == ScanSource::kTimestamp && parts.is_time_unread())) {
            continue;
        }
        shows_times_ = shows_times_ || column == ScanSource::kTimestamp;
        const bool is_text =
            column >= ScanSource::kOwnColumns && column < source_.columns() &&
            source_.schema.variants[column - ScanSource::kOwnColumns].type == FieldType::kString;
        has_others_ = has_others_ || !is_text || text_.value_or(column) != column;
        text_ = column;
    }
}

void ScanOutput::filter_scan(const duckdb::TableFilterSet& filters,
                             const duckdb::vector<duckdb::ColumnIndex>& columns) {
    filters_ = &filters;
    for (const auto& id : columns) {
        filtered_.push_back(id.GetPrimaryIndex());
    }
}

void ScanOutput::filter_plan(const duckdb::TableFilterSet& filters) {
    filters_ = &filters;
    filtered_.resize(source_.columns());
    std::iota(filtered_.begin(), filtered_.end(), 0);
}

bool ScanOutput::must_pass(const duckdb::TableFilterSet& filters, const PartInfo& part) const {
    const BoundsOf times = [&](std::size_t column) {
        return column == ScanSource::kTimestamp ? part_bounds(part, source_, column)
                                                : ColumnBounds{.min = {}, .max = {}};
    };
    return molesignal::must_pass(filters, filtered_, source_, times);
}

bool ScanOutput::has_all_rows_of(const PartInfo& part) const {
    return filters_ == nullptr || must_pass(*filters_, part);
}

std::optional<ReaderDemand> ScanOutput::without_times(
    const PartInfo& part, const duckdb::vector<duckdb::ColumnIndex>& columns) const {
    if (filters_ == nullptr || shows_times_) {
        return std::nullopt;
    }
    for (const auto& [place, filter] : filters_->filters) {
        if (filtered_[place] != ScanSource::kTimestamp) {
            continue;
        }
        duckdb::TableFilterSet of_times;
        of_times.filters[place] = filter->Copy();
        if (!must_pass(of_times, part)) {
            return std::nullopt;
        }
        ReaderDemand demand{.columns = columns, .filters = filters_->Copy()};
        demand.columns[place] = duckdb::ColumnIndex(duckdb::COLUMN_IDENTIFIER_EMPTY);
        demand.filters->filters.erase(place);
        return demand;
    }
    return std::nullopt;
}

duckdb::shared_ptr<AnsweredPart> answer_part(InstanceState& state,
                                             const ScanParts& parts,
                                             std::size_t at,
                                             const ScanOutput& output) {
    const auto& chosen = parts.parts()[at];
    const auto text = output.text();
    if (!output.is_countable() || (text.has_value() && chosen.rows != nullptr) ||
        !output.has_all_rows_of(*chosen.part)) {
        return nullptr;
    }
    duckdb::OpenFileInfo file(object_path(*chosen.part));
    if (!text.has_value()) {
        return duckdb::make_shared_ptr<AnsweredPart>(
            std::move(file),
            chosen.rows != nullptr ? static_cast<std::int64_t>(chosen.rows->count())
                                   : chosen.part->rows);
    }
    auto runs = count_values(state, parts, at, *text);
    if (!runs.has_value()) {
        return nullptr;
    }
    const auto& source = parts.source();
    duckdb::MultiFileColumnDefinition column(source.column_names[*text],
                                             duckdb::LogicalType::VARCHAR);
    column.identifier = duckdb::Value::INTEGER(parquet_field_id(source, *text));
    return duckdb::make_shared_ptr<AnsweredPart>(
        std::move(file), std::move(column), std::move(*runs));
}

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
