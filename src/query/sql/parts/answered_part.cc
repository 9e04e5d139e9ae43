#include "query/sql/parts/answered_part.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <duckdb/planner/expression/bound_reference_expression.hpp>
#include <duckdb/planner/filter/conjunction_filter.hpp>

#include "query/sql/duckdb_types.h"
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
    : parts_(parts), columns_(columns), shown_(shown) {
    const auto& source = parts.source();
    for (duckdb::idx_t place = 0; place < columns.size(); ++place) {
        const auto& id = columns[place];
        if (id.IsEmptyColumn() || !is_shown(place) || parts.history().is_unread) {
            continue;
        }
        const auto column = id.GetPrimaryIndex();
        const bool is_text =
            column >= ScanSource::kOwnColumns && column < source.columns() &&
            source.schema.variants[column - ScanSource::kOwnColumns].type == FieldType::kString;
        has_others_ = has_others_ || !is_text || text_.value_or(column) != column;
        text_ = column;
    }
}

bool ScanOutput::is_shown(duckdb::idx_t place) const {
    return shown_.empty() || std::ranges::find(shown_, place) != shown_.end();
}

void ScanOutput::filter_scan(const duckdb::TableFilterSet& filters) {
    filters_ = &filters;
    for (const auto& id : columns_) {
        filtered_.push_back(id.GetPrimaryIndex());
    }
}

void ScanOutput::filter_plan(const duckdb::TableFilterSet& filters) {
    filters_ = &filters;
    filtered_.resize(parts_.source().columns());
    std::iota(filtered_.begin(), filtered_.end(), 0);
}

duckdb::unique_ptr<duckdb::TableFilter> ScanOutput::left_of(const duckdb::TableFilter& filter,
                                                            std::size_t column,
                                                            const ChosenPart& chosen) const {
    if (filter.filter_type == duckdb::TableFilterType::CONJUNCTION_AND) {
        auto left = duckdb::make_uniq<duckdb::ConjunctionAndFilter>();
        for (const auto& child : filter.Cast<duckdb::ConjunctionAndFilter>().child_filters) {
            if (auto of_child = left_of(*child, column, chosen)) {
                left->child_filters.push_back(std::move(of_child));
            }
        }
        return left->child_filters.empty() ? nullptr : std::move(left);
    }
    if (column < parts_.source().columns()) {
        const duckdb::BoundReferenceExpression reference(duckdb_type_of(parts_.source(), column),
                                                         column);
        const auto condition = filter.ToExpression(reference);
        const auto& kept = parts_.history().kept;
        for (std::size_t i = 0; i < kept.size(); ++i) {
            if ((chosen.answered >> i & 1U) != 0 && kept[i]->Equals(*condition)) {
                return nullptr;
            }
        }
    }
    duckdb::TableFilterSet alone;
    alone.filters[0] = filter.Copy();
    const BoundsOf times = [&](std::size_t of) {
        return of == ScanSource::kTimestamp ? part_bounds(*chosen.part, parts_.source(), of)
                                            : ColumnBounds{.min = {}, .max = {}};
    };
    return must_pass(alone, {column}, parts_.source(), times) ? nullptr
                                                              : std::move(alone.filters[0]);
}

ScanOutput::Filters ScanOutput::filters_left(const ChosenPart& chosen) const {
    Filters left;
    if (filters_ == nullptr) {
        return left;
    }
    for (const auto& [place, filter] : filters_->filters) {
        const auto column = place < filtered_.size() ? filtered_[place] : UINT64_MAX;
        if (auto of_filter = left_of(*filter, column, chosen)) {
            left.emplace(place, std::move(of_filter));
        }
    }
    return left;
}

bool ScanOutput::has_all_rows_of(const ChosenPart& chosen) const {
    return filters_left(chosen).empty();
}

ReaderDemand ScanOutput::demand_of(const ChosenPart& chosen) const {
    ReaderDemand demand{.columns = columns_, .filters = nullptr};
    if (filters_ == nullptr) {
        return demand;
    }
    auto left = filters_left(chosen);
    for (const auto& [place, filter] : filters_->filters) {
        if (!left.contains(place) && !is_shown(place)) {
            demand.columns[place] = duckdb::ColumnIndex(duckdb::COLUMN_IDENTIFIER_EMPTY);
        }
    }
    if (!left.empty()) {
        demand.filters = duckdb::make_uniq<duckdb::TableFilterSet>();
        demand.filters->filters.merge(left);
    }
    return demand;
}

duckdb::shared_ptr<AnsweredPart> answer_part(InstanceState& state,
                                             const ScanParts& parts,
                                             std::size_t at,
                                             const ScanOutput& output) {
    const auto& chosen = parts.parts()[at];
    const auto text = output.text();
    if (!output.is_countable() || (text.has_value() && chosen.rows != nullptr) ||
        !output.has_all_rows_of(chosen)) {
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
