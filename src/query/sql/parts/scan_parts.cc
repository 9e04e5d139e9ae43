#include "query/sql/parts/scan_parts.h"

#include <algorithm>
#include <utility>

#include <duckdb/planner/expression/bound_columnref_expression.hpp>
#include <duckdb/planner/expression/bound_reference_expression.hpp>
#include <duckdb/planner/expression_iterator.hpp>
#include <duckdb/planner/filter/expression_filter.hpp>

#include "query/sql/duckdb_types.h"
#include "query/sql/parts/pack_lookup.h"
#include "query/sql/parts/part_index.h"

namespace molesignal {
namespace {

/// `condition` with its column as PartHistory::kept has it; null: it has none, or several.
duckdb::unique_ptr<duckdb::Expression> reference_column(const duckdb::Expression& condition,
                                                        const ColumnOf& column_of,
                                                        const ScanSource& source) {
    auto copy = condition.Copy();
    std::optional<std::size_t> column;
    bool is_one = true;
    duckdb::ExpressionIterator::EnumerateExpression(copy, [&](duckdb::Expression& part) {
        if (part.GetExpressionClass() == duckdb::ExpressionClass::BOUND_COLUMN_REF) {
            const auto of_part = column_of(part);
            is_one = is_one && of_part.has_value() && column.value_or(*of_part) == *of_part;
            column = of_part;
        }
    });
    if (!is_one || !column.has_value()) {
        return nullptr;
    }
    const duckdb::BoundReferenceExpression reference(duckdb_type_of(source, *column), *column);
    duckdb::ExpressionFilter::ReplaceExpressionRecursive(
        copy, reference, duckdb::ExpressionType::BOUND_COLUMN_REF);
    return copy;
}

}  // namespace

ScanParts::ScanParts(std::shared_ptr<InstanceState> state,
                     std::shared_ptr<const ScanSource> source,
                     Parts parts,
                     PartHistory history)
    : MultiFileList(duckdb::vector<duckdb::OpenFileInfo>(), duckdb::FileGlobOptions::ALLOW_EMPTY),
      state_(std::move(state)),
      source_(std::move(source)),
      parts_(std::move(parts)),
      history_(std::move(history)) {}

duckdb::shared_ptr<ScanParts> ScanParts::of(const std::shared_ptr<InstanceState>& state,
                                            std::shared_ptr<const ScanSource> source) {
    Parts parts;
    for (const auto& part : source->parts) {
        parts.push_back({.part = &part});
    }
    return duckdb::make_shared_ptr<ScanParts>(
        state, std::move(source), std::move(parts), PartHistory());
}

duckdb::shared_ptr<ScanParts> ScanParts::as_unread() const {
    auto history = history_;
    history.is_unread = true;
    return duckdb::make_shared_ptr<ScanParts>(state_, source_, parts_, std::move(history));
}

duckdb::unique_ptr<duckdb::MultiFileList> ScanParts::ComplexFilterPushdown(
    duckdb::ClientContext& context,
    const duckdb::MultiFileOptions&,
    duckdb::MultiFilePushdownInfo& info,
    duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& filters) {
    const ColumnOf column_of =
        [&info, this](const duckdb::Expression& expression) -> std::optional<std::size_t> {
        if (expression.GetExpressionClass() != duckdb::ExpressionClass::BOUND_COLUMN_REF) {
            return std::nullopt;
        }
        const auto& column = expression.Cast<duckdb::BoundColumnRefExpression>();
        if (column.depth > 0 || column.binding.table_index != info.table_index ||
            column.binding.column_index >= info.column_ids.size()) {
            return std::nullopt;
        }
        const auto id = info.column_ids[column.binding.column_index];
        return id < source_->columns() ? std::optional<std::size_t>(id) : std::nullopt;
    };
    auto history = history_;
    auto kept = possible_parts(column_of, filters, history);
    const bool has_asked = ask_indexes(context, column_of, filters, kept, history);
    if (state_->explains) {
        state_->note_scan(info.table_index, report_of(kept, history));
    }
    return kept.size() == parts_.size() && !has_asked ? nullptr
                                                      : make(std::move(kept), std::move(history));
}

duckdb::unique_ptr<duckdb::MultiFileList> ScanParts::DynamicFilterPushdown(
    duckdb::ClientContext&,
    const duckdb::MultiFileOptions&,
    const duckdb::vector<duckdb::string>&,
    const duckdb::vector<duckdb::LogicalType>&,
    const duckdb::vector<duckdb::column_t>& columns,
    duckdb::TableFilterSet& filters) const {
    Parts kept;
    std::ranges::copy_if(parts_, std::back_inserter(kept), [&](const auto& chosen) {
        return may_pass(filters, columns, *source_, [&](auto column) {
            return part_bounds(*chosen.part, *source_, column);
        });
    });
    return kept.size() == parts_.size() ? nullptr : make(std::move(kept), history_);
}

duckdb::vector<duckdb::OpenFileInfo> ScanParts::GetAllFiles() {
    duckdb::vector<duckdb::OpenFileInfo> files;
    for (duckdb::idx_t i = 0; i < parts_.size(); ++i) {
        files.push_back(GetFile(i));
    }
    return files;
}

duckdb::FileExpandResult ScanParts::GetExpandResult() {
    // A single file would be read by one thread.
    return parts_.empty() ? duckdb::FileExpandResult::NO_FILES
           : parts_.size() == 1 && parts_.front().part->row_groups.size() < 2
               ? duckdb::FileExpandResult::SINGLE_FILE
               : duckdb::FileExpandResult::MULTIPLE_FILES;
}

duckdb::unique_ptr<duckdb::NodeStatistics> ScanParts::GetCardinality(duckdb::ClientContext&) {
    duckdb::idx_t rows = 0;
    for (const auto& chosen : parts_) {
        rows += chosen.rows != nullptr ? chosen.rows->count()
                                       : static_cast<duckdb::idx_t>(chosen.part->rows);
    }
    return duckdb::make_uniq<duckdb::NodeStatistics>(rows, rows);
}

duckdb::OpenFileInfo ScanParts::GetFile(duckdb::idx_t i) {
    return i < parts_.size() ? duckdb::OpenFileInfo(object_path(*parts_[i].part))
                             : duckdb::OpenFileInfo();
}

duckdb::unique_ptr<duckdb::MultiFileList> ScanParts::make(Parts parts, PartHistory history) const {
    return duckdb::make_uniq<ScanParts>(state_, source_, std::move(parts), std::move(history));
}

ScanParts::Parts ScanParts::possible_parts(const ColumnOf& column_of,
                                           const Filters& filters,
                                           PartHistory& history) const {
    Parts kept;
    for (const auto& chosen : parts_) {
        const auto is_possible = [&](const BoundsOf& bounds) {
            return std::ranges::all_of(filters, [&](const auto& filter) {
                return may_be_true(*filter, column_of, bounds);
            });
        };
        if (is_possible([&](auto column) { return part_bounds(*chosen.part, *source_, column); })) {
            kept.push_back(chosen);
            continue;
        }
        const bool by_times = !is_possible([&](auto column) {
            return column == ScanSource::kTimestamp ? part_bounds(*chosen.part, *source_, column)
                                                    : ColumnBounds{.min = {}, .max = {}};
        });
        ++(by_times ? history.skipped_by_times : history.skipped_by_zone_maps);
    }
    return kept;
}

ScanReport ScanParts::report_of(const Parts& parts, const PartHistory& history) const {
    ScanReport report;
    report.source = source_;
    report.skipped_by_times = history.skipped_by_times;
    report.skipped_by_zone_maps = history.skipped_by_zone_maps;
    report.skipped_by_index = history.skipped_by_index;
    report.conditions_answered = history.answered;
    for (const auto& query : history.conditions) {
        report.conditions.push_back(describe(query, [this](FieldId id) {
            const auto found = std::ranges::find(source_->schema.variants, id, &FieldVariant::id);
            return found == source_->schema.variants.end() ? std::string("?") : found->name;
        }));
    }
    for (const auto& chosen : parts) {
        const auto is_asked =
            chosen.reading != PartReading::kUnasked && chosen.reading != PartReading::kNoIndex;
        report.add(
            chosen.reading, chosen.part->rows, is_asked ? chosen.rows_left : chosen.part->rows);
    }
    return report;
}

std::vector<ScanParts::Question> ScanParts::questions_of(const Filters& filters,
                                                         const ColumnOf& column_of) const {
    std::vector<Question> questions;
    bool helps = false;
    for (std::size_t i = 0; i < filters.size(); ++i) {
        if (auto condition = index_condition(*filters[i], column_of, *source_)) {
            helps = helps || condition->helps;
            questions.push_back({.filter = i, .condition = std::move(*condition)});
        }
    }
    if (!helps) {
        questions.clear();
    }
    return questions;
}

bool ScanParts::ask_indexes(duckdb::ClientContext& context,
                            const ColumnOf& column_of,
                            Filters& filters,
                            Parts& kept,
                            PartHistory& history) const {
    auto questions = questions_of(filters, column_of);
    if (questions.empty() || kept.empty()) {
        return false;
    }
    Parts found;
    IndexTally tally;
    tally.parts = drop_ruled_out(questions, kept);
    history.skipped_by_index += tally.parts;
    for (std::size_t i = 0; i < kept.size(); ++i) {
        if (context.interrupted) {
            throw duckdb::InterruptException();
        }
        read_indexes_ahead(kept, i);
        auto asked = ask_index(kept[i], questions);
        if (asked.reading != PartReading::kNoIndex) {
            ++tally.parts;
            tally.rows += asked.rows_left;
            if (asked.rows_left == 0) {
                ++history.skipped_by_index;
                for (auto& question : questions) {
                    question.answered_by.resize(found.size());
                }
                continue;
            }
        }
        found.push_back(asked);
    }
    keep_answers(questions, filters, column_of, found, history);
    tally.filters = drop_answered(questions, filters);
    history.answered += tally.filters;
    history.is_selection_needed = history.is_selection_needed || tally.filters > 0;
    if (!history.is_selection_needed) {
        tally.parts_whole = drop_large_selections(found);
    }
    for (auto& question : questions) {
        history.conditions.push_back(std::move(question.condition.query));
    }
    state_->note_index(tally);
    kept = std::move(found);
    return true;
}

void ScanParts::read_indexes_ahead(const Parts& parts, std::size_t at) const {
    constexpr std::size_t kAhead = 8;
    const QueryMemory::Scope uncounted(nullptr);
    const auto begin = at == 0 ? 1 : at + kAhead;
    for (auto next = begin; next <= at + kAhead && next < parts.size(); ++next) {
        PartIndex::read_ahead(*state_, *parts[next].part);
    }
}

std::int64_t ScanParts::drop_ruled_out(const std::vector<Question>& questions, Parts& kept) const {
    // To ask fewer parts is cheaper than to open a pack.
    constexpr std::size_t kWorthwhileParts = 3;
    if (kept.size() < kWorthwhileParts || source_->id_packs.empty()) {
        return 0;
    }
    const QueryMemory::Scope uncounted(nullptr);
    std::vector<const IndexCondition*> conditions;
    for (const auto& question : questions) {
        conditions.push_back(&question.condition);
    }
    const auto ruled_out = parts_ruled_out_by_packs(*state_, *source_, conditions);
    return static_cast<std::int64_t>(std::erase_if(
        kept, [&](const auto& chosen) { return ruled_out.contains(chosen.part->id); }));
}

ChosenPart ScanParts::ask_index(const ChosenPart& chosen, std::vector<Question>& questions) const {
    // What the index reads and finds is not the query's; keep_rows counts what stays.
    const QueryMemory::Scope uncounted(nullptr);
    auto asked = chosen;
    auto index = PartIndex::find(*state_, *chosen.part);
    if (!index.has_value()) {
        for (auto& question : questions) {
            question.is_answered = false;
            question.answered_by.push_back(false);
        }
        asked.reading = PartReading::kNoIndex;
        return asked;
    }
    auto rows = chosen.rows != nullptr ? *chosen.rows
                                       : RowSet::all(static_cast<std::uint32_t>(chosen.part->rows));
    bool is_exact = true;
    for (auto& question : questions) {
        const auto selection = index->select(question.condition.query);
        rows = rows.intersected(selection.rows);
        if (rows.is_none()) {
            break;
        }
        const bool is_answered = question.condition.same && selection.exact;
        question.is_answered = question.is_answered && is_answered;
        question.answered_by.push_back(is_answered);
        is_exact = is_exact && is_answered;
    }
    asked.reading = is_exact ? PartReading::kExact : PartReading::kMaybe;
    asked.rows_left = static_cast<std::int64_t>(rows.count());
    asked.rows = rows.is_none() || rows.is_all() ? nullptr : state_->keep_rows(std::move(rows));
    return asked;
}

void ScanParts::keep_answers(const std::vector<Question>& questions,
                             const Filters& filters,
                             const ColumnOf& column_of,
                             Parts& found,
                             PartHistory& history) const {
    for (const auto& question : questions) {
        const bool is_for_some =
            !question.is_answered &&
            std::ranges::find(question.answered_by, true) != question.answered_by.end();
        if (!is_for_some || history.kept.size() >= PartHistory::kKeptMax) {
            continue;
        }
        auto condition = reference_column(*filters[question.filter], column_of, *source_);
        if (condition == nullptr) {
            continue;
        }
        const auto bit = std::uint64_t{1} << history.kept.size();
        history.kept.emplace_back(condition.release());
        for (std::size_t i = 0; i < found.size(); ++i) {
            found[i].answered |= question.answered_by.at(i) ? bit : 0;
        }
    }
}

std::int64_t ScanParts::drop_answered(const std::vector<Question>& questions, Filters& filters) {
    std::int64_t dropped = 0;
    for (auto question = questions.rbegin(); question != questions.rend(); ++question) {
        if (question->is_answered) {
            filters.erase_at(question->filter);
            ++dropped;
        }
    }
    return dropped;
}

std::int64_t ScanParts::drop_large_selections(Parts& found) {
    constexpr std::int64_t kWorthwhileShare = 3;
    std::int64_t dropped = 0;
    for (auto& chosen : found) {
        if (chosen.reading != PartReading::kNoIndex && chosen.reading != PartReading::kExact &&
            chosen.rows_left * kWorthwhileShare > chosen.part->rows) {
            chosen.rows = nullptr;
            chosen.answered = 0;
            chosen.reading = PartReading::kManyRows;
            ++dropped;
        }
    }
    return dropped;
}

}  // namespace molesignal
