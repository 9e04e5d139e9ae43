// ms_parts(handle): the parts of a stream by DuckDB's own Parquet reader. The list of files is
// ours: it shrinks by the filters that DuckDB pushes into the scan; columns are found by their
// field ids.
#include <algorithm>

#include <duckdb.hpp>
#include <duckdb/common/multi_file/multi_file_reader.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/parser/expression/constant_expression.hpp>
#include <duckdb/planner/expression/bound_columnref_expression.hpp>
#include <duckdb/planner/table_filter.hpp>
#include <parquet_multi_file_info.hpp>

#include "query/sql/duckdb_types.h"
#include "query/sql/engine_instance.h"
#include "query/sql/parts/answered_part.h"
#include "query/sql/parts/chosen_rows.h"
#include "query/sql/parts/index_conditions.h"
#include "query/sql/parts/pack_lookup.h"
#include "query/sql/parts/parsed_footers.h"
#include "query/sql/parts/part_index.h"
#include "query/sql/parts/part_pruning.h"

namespace molesignal {

duckdb::LogicalType duckdb_type_of(FieldType type) {
    switch (type) {
        case FieldType::kBool:
            return duckdb::LogicalType::BOOLEAN;
        case FieldType::kInt64:
            return duckdb::LogicalType::BIGINT;
        case FieldType::kUint64:
            return duckdb::LogicalType::UBIGINT;
        case FieldType::kFloat64:
            return duckdb::LogicalType::DOUBLE;
        case FieldType::kTimestamp:
            return duckdb::LogicalType::TIMESTAMP_TZ;
        case FieldType::kBytes:
            return duckdb::LogicalType::BLOB;
        case FieldType::kString:
        case FieldType::kJson:
            return duckdb::LogicalType::VARCHAR;
    }
    return duckdb::LogicalType::VARCHAR;
}

duckdb::LogicalType duckdb_type_of(const ScanSource& source, std::size_t column) {
    switch (column) {
        case ScanSource::kTimestamp:
            return duckdb::LogicalType::TIMESTAMP_TZ;
        case ScanSource::kTimestampNanos:
            return duckdb::LogicalType::SMALLINT;
        case ScanSource::kShard:
        case ScanSource::kPosition:
            return duckdb::LogicalType::BIGINT;
        case ScanSource::kExtra:
            return duckdb::LogicalType::VARCHAR;
        default:
            return duckdb_type_of(source.schema.variants[column - ScanSource::kOwnColumns].type);
    }
}

namespace {

struct PartsInfo final : duckdb::TableFunctionInfo {
    std::shared_ptr<InstanceState> state;
};

/// A part, and which of its rows a scan reads.
struct ChosenPart {
    const PartInfo* part = nullptr;
    const RowSet* rows = nullptr;  ///< Null: all.
    PartReading reading = PartReading::kUnasked;
    std::int64_t rows_left = 0;  ///< By its index, if that was asked.
};

/// What a list has come through to what it is.
struct PartHistory {
    std::int64_t skipped_by_times = 0;
    std::int64_t skipped_by_zone_maps = 0;
    std::int64_t skipped_by_index = 0;
    std::vector<IndexQuery> conditions;  ///< That indexes were asked.
    std::int64_t answered = 0;           ///< Of these, alone.
    /// Filters were taken out: whoever reads the parts must read their chosen rows only.
    bool is_selection_needed = false;
};

/// The parts of a source that a scan still has to read, newest first. Immutable.
class PartList final : public duckdb::MultiFileList {
public:
    using Parts = std::vector<ChosenPart>;

    PartList(std::shared_ptr<InstanceState> state,
             std::shared_ptr<const ScanSource> source,
             Parts parts,
             PartHistory history)
        : MultiFileList(duckdb::vector<duckdb::OpenFileInfo>(),
                        duckdb::FileGlobOptions::ALLOW_EMPTY),
          state_(std::move(state)),
          source_(std::move(source)),
          parts_(std::move(parts)),
          history_(std::move(history)) {}

    const ScanSource& source() const { return *source_; }
    const Parts& parts() const { return parts_; }
    /// Those that may hold a row for which all of `filters` are true, with these rows if an index
    /// knows them. A filter that the index has answered for every part is taken out of `filters`.
    duckdb::unique_ptr<MultiFileList> ComplexFilterPushdown(
        duckdb::ClientContext& context,
        const duckdb::MultiFileOptions&,
        duckdb::MultiFilePushdownInfo& info,
        duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& filters) override {
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
        return kept.size() == parts_.size() && !has_asked
                   ? nullptr
                   : make(std::move(kept), std::move(history));
    }

    /// The same for what is known when the scan begins: bounds of a join's other side, too.
    duckdb::unique_ptr<MultiFileList> DynamicFilterPushdown(
        duckdb::ClientContext&,
        const duckdb::MultiFileOptions&,
        const duckdb::vector<duckdb::string>&,
        const duckdb::vector<duckdb::LogicalType>&,
        const duckdb::vector<duckdb::column_t>& columns,
        duckdb::TableFilterSet& filters) const override {
        Parts kept;
        std::ranges::copy_if(parts_, std::back_inserter(kept), [&](const auto& chosen) {
            return may_pass(filters, columns, *source_, [&](auto column) {
                return part_bounds(*chosen.part, *source_, column);
            });
        });
        return kept.size() == parts_.size() ? nullptr : make(std::move(kept), history_);
    }

    duckdb::vector<duckdb::OpenFileInfo> GetAllFiles() override {
        duckdb::vector<duckdb::OpenFileInfo> files;
        for (duckdb::idx_t i = 0; i < parts_.size(); ++i) {
            files.push_back(GetFile(i));
        }
        return files;
    }
    duckdb::FileExpandResult GetExpandResult() override {
        // A single file would be read by one thread.
        return parts_.empty() ? duckdb::FileExpandResult::NO_FILES
               : parts_.size() == 1 && parts_.front().part->row_groups.size() < 2
                   ? duckdb::FileExpandResult::SINGLE_FILE
                   : duckdb::FileExpandResult::MULTIPLE_FILES;
    }
    duckdb::idx_t GetTotalFileCount() override { return parts_.size(); }
    duckdb::unique_ptr<duckdb::NodeStatistics> GetCardinality(duckdb::ClientContext&) override {
        duckdb::idx_t rows = 0;
        for (const auto& chosen : parts_) {
            rows += chosen.rows != nullptr ? chosen.rows->count()
                                           : static_cast<duckdb::idx_t>(chosen.part->rows);
        }
        return duckdb::make_uniq<duckdb::NodeStatistics>(rows, rows);
    }
    duckdb::unique_ptr<MultiFileList> Copy() override { return make(parts_, history_); }

    /// Has a few of the next parts' indexes fetched while part `at` is asked.
    void read_indexes_ahead(const Parts& parts, std::size_t at) const {
        constexpr std::size_t kAhead = 8;
        const QueryMemory::Scope uncounted(nullptr);
        const auto begin = at == 0 ? 1 : at + kAhead;
        for (auto next = begin; next <= at + kAhead && next < parts.size(); ++next) {
            PartIndex::read_ahead(*state_, *parts[next].part);
        }
    }

protected:
    duckdb::OpenFileInfo GetFile(duckdb::idx_t i) override {
        return i < parts_.size() ? duckdb::OpenFileInfo(object_path(*parts_[i].part))
                                 : duckdb::OpenFileInfo();
    }

private:
    using Filters = duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>;
    /// A filter that an index can be asked about.
    struct Question {
        std::size_t filter = 0;
        IndexCondition condition;
        bool is_answered = true;  ///< Exactly, for every part so far.
    };

    duckdb::unique_ptr<MultiFileList> make(Parts parts, PartHistory history) const {
        return duckdb::make_uniq<PartList>(state_, source_, std::move(parts), std::move(history));
    }

    /// The parts that may hold a row for which all of `filters` are true, by their bounds.
    Parts possible_parts(const ColumnOf& column_of,
                         const Filters& filters,
                         PartHistory& history) const {
        Parts kept;
        for (const auto& chosen : parts_) {
            const auto is_possible = [&](const BoundsOf& bounds) {
                return std::ranges::all_of(filters, [&](const auto& filter) {
                    return may_be_true(*filter, column_of, bounds);
                });
            };
            if (is_possible(
                    [&](auto column) { return part_bounds(*chosen.part, *source_, column); })) {
                kept.push_back(chosen);
                continue;
            }
            const bool by_times = !is_possible([&](auto column) {
                return column == ScanSource::kTimestamp
                           ? part_bounds(*chosen.part, *source_, column)
                           : ColumnBounds{.min = {}, .max = {}};
            });
            ++(by_times ? history.skipped_by_times : history.skipped_by_zone_maps);
        }
        return kept;
    }

    ScanReport report_of(const Parts& parts, const PartHistory& history) const {
        ScanReport report;
        report.source = source_;
        report.skipped_by_times = history.skipped_by_times;
        report.skipped_by_zone_maps = history.skipped_by_zone_maps;
        report.skipped_by_index = history.skipped_by_index;
        report.conditions_answered = history.answered;
        for (const auto& query : history.conditions) {
            report.conditions.push_back(describe(query, [this](FieldId id) {
                const auto found =
                    std::ranges::find(source_->schema.variants, id, &FieldVariant::id);
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

    /// What indexes can be asked of `filters`; nothing if it is not worth opening them.
    std::vector<Question> questions_of(const Filters& filters, const ColumnOf& column_of) const {
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

    /// Drops the parts of `kept` without a row for which all of `filters` are true, as far as their
    /// indexes know; says whether there was something to ask. Filters that they have answered go,
    /// and then the selections are needed.
    bool ask_indexes(duckdb::ClientContext& context,
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
                    continue;
                }
            }
            found.push_back(asked);
        }
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

    /// Drops the parts that packs of ids rule out; returns how many.
    std::int64_t drop_ruled_out(const std::vector<Question>& questions, Parts& kept) const {
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

    /// The part with the rows that its index leaves of those it had.
    ChosenPart ask_index(const ChosenPart& chosen, std::vector<Question>& questions) const {
        // What the index reads and finds is not the query's; keep_rows counts what stays.
        const QueryMemory::Scope uncounted(nullptr);
        auto asked = chosen;
        auto index = PartIndex::find(*state_, *chosen.part);
        if (!index.has_value()) {
            for (auto& question : questions) {
                question.is_answered = false;
            }
            asked.reading = PartReading::kNoIndex;
            return asked;
        }
        auto rows = chosen.rows != nullptr
                        ? *chosen.rows
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
            is_exact = is_exact && is_answered;
        }
        asked.reading = is_exact ? PartReading::kExact : PartReading::kMaybe;
        asked.rows_left = static_cast<std::int64_t>(rows.count());
        asked.rows = rows.is_none() || rows.is_all() ? nullptr : state_->keep_rows(std::move(rows));
        return asked;
    }

    /// Takes the filters out that every part has answered; returns how many.
    static std::int64_t drop_answered(const std::vector<Question>& questions, Filters& filters) {
        std::int64_t dropped = 0;
        for (auto question = questions.rbegin(); question != questions.rend(); ++question) {
            if (question->is_answered) {
                filters.erase_at(question->filter);
                ++dropped;
            }
        }
        return dropped;
    }

    /// A selection of many rows saves nothing when the filter runs all the same. Returns how many
    /// parts are read whole.
    static std::int64_t drop_large_selections(Parts& found) {
        constexpr std::int64_t kWorthwhileShare = 3;
        std::int64_t dropped = 0;
        for (auto& chosen : found) {
            if (chosen.reading != PartReading::kNoIndex &&
                chosen.rows_left * kWorthwhileShare > chosen.part->rows) {
                chosen.rows = nullptr;
                chosen.reading = PartReading::kManyRows;
                ++dropped;
            }
        }
        return dropped;
    }

    std::shared_ptr<InstanceState> state_;
    std::shared_ptr<const ScanSource> source_;
    Parts parts_;
    PartHistory history_;
};

/// Binds to the schema of a source instead of a file's, so that no object is opened for planning.
class PartReader final : public duckdb::MultiFileReader {
public:
    explicit PartReader(std::shared_ptr<InstanceState> state) : state_(std::move(state)) {
        function_name = "ms_parts";
    }
    static duckdb::unique_ptr<MultiFileReader> make(const duckdb::TableFunction& function) {
        return duckdb::make_uniq<PartReader>(function.function_info->Cast<PartsInfo>().state);
    }
    duckdb::unique_ptr<MultiFileReader> Copy() const override {
        return duckdb::make_uniq<PartReader>(state_);
    }

    duckdb::vector<duckdb::string> ParsePaths(const duckdb::Value& handle) override {
        return {handle.ToString()};
    }
    duckdb::shared_ptr<duckdb::MultiFileList> CreateFileList(
        duckdb::ClientContext&,
        const duckdb::vector<duckdb::string>& handles,
        const duckdb::FileGlobInput&) override {
        const auto source = state_->source(std::stoull(handles.at(0)));
        PartList::Parts parts;
        for (const auto& part : source->parts) {
            parts.push_back({.part = &part});
        }
        return duckdb::make_shared_ptr<PartList>(state_, source, std::move(parts), PartHistory());
    }

    bool Bind(duckdb::MultiFileOptions&,
              duckdb::MultiFileList& files,
              duckdb::vector<duckdb::LogicalType>& types,
              duckdb::vector<duckdb::string>& names,
              duckdb::MultiFileReaderBindData& bind_data) override {
        const auto& source = files.Cast<PartList>().source();
        for (std::size_t column = 0; column < source.columns(); ++column) {
            names.push_back(source.column_names[column]);
            types.push_back(duckdb_type_of(source, column));
            duckdb::MultiFileColumnDefinition definition(names.back(), types.back());
            definition.identifier = duckdb::Value::INTEGER(field_id(source, column));
            definition.default_expression =
                duckdb::make_uniq<duckdb::ConstantExpression>(duckdb::Value(types.back()));
            bind_data.schema.push_back(std::move(definition));
        }
        bind_data.mapping = duckdb::MultiFileColumnMappingMode::BY_FIELD_ID;
        return true;
    }

    duckdb::unique_ptr<duckdb::MultiFileReaderGlobalState> InitializeGlobalState(
        duckdb::ClientContext& context,
        const duckdb::MultiFileOptions& options,
        const duckdb::MultiFileReaderBindData& bind_data,
        const duckdb::MultiFileList& files,
        const duckdb::vector<duckdb::MultiFileColumnDefinition>& columns,
        const duckdb::vector<duckdb::ColumnIndex>& column_ids) override {
        for (const auto& chosen : files.Cast<PartList>().parts()) {
            state_->select(*chosen.part);
        }
        return MultiFileReader::InitializeGlobalState(
            context, options, bind_data, files, columns, column_ids);
    }

    using MultiFileReader::CreateReader;
    duckdb::shared_ptr<duckdb::BaseFileReader> CreateReader(
        duckdb::ClientContext&,
        duckdb::GlobalTableFunctionState&,
        const duckdb::OpenFileInfo& file,
        duckdb::idx_t,
        const duckdb::MultiFileBindData&) override {
        // What the scan wants of the part is known in InitializeReader only.
        return duckdb::make_shared_ptr<UnopenedPart>(file);
    }

    duckdb::ReaderInitializeType InitializeReader(
        duckdb::MultiFileReaderData& data,
        const duckdb::MultiFileBindData& bind_data,
        const duckdb::vector<duckdb::MultiFileColumnDefinition>& columns,
        const duckdb::vector<duckdb::ColumnIndex>& column_ids,
        duckdb::optional_ptr<duckdb::TableFilterSet> filters,
        duckdb::ClientContext& context,
        duckdb::MultiFileGlobalState& state) override {
        const auto& parts = state.file_list.Cast<PartList>();
        const auto at = data.reader->file_list_idx.GetIndex();
        const auto& chosen = parts.parts().at(at);
        const auto file = data.reader->file;
        if (object_path(*chosen.part) != file.path) {
            throw duckdb::InternalException("a reader has another part's place in the list");
        }
        if (auto answered = answer(parts, at, file, column_ids, filters, state)) {
            answered->file_list_idx = at;
            data.reader = std::move(answered);
            // All of its rows pass.
            return MultiFileReader::InitializeReader(
                data, bind_data, columns, column_ids, nullptr, context, state);
        }
        auto opened = open_part_file(context, file, *state_);
        auto& reader = *opened;
        reader.file_list_idx = at;
        state_->set_chunks(file.path, column_chunks(*reader.GetFileMetadata()));
        if (chosen.rows != nullptr) {
            choose_rows(reader, *chosen.rows);
        }
        data.reader = std::move(opened);
        const auto initialized = MultiFileReader::InitializeReader(
            data, bind_data, columns, column_ids, filters, context, state);
        state_->read_together(file.path, extents(reader, *state_->reader));
        return initialized;
    }

private:
    /// The columns that a scan hands on.
    struct Wanted {
        std::optional<std::size_t> text;  ///< The only one, a text.
        bool others = false;
    };
    static Wanted wanted_of(const duckdb::vector<duckdb::ColumnIndex>& column_ids,
                            const duckdb::MultiFileGlobalState& state,
                            const ScanSource& source) {
        Wanted wanted;
        const auto count =
            state.projection_ids.empty() ? column_ids.size() : state.projection_ids.size();
        for (std::size_t i = 0; i < count; ++i) {
            const auto& id = column_ids[state.projection_ids.empty() ? i : state.projection_ids[i]];
            if (id.IsEmptyColumn()) {
                continue;
            }
            const auto column = id.GetPrimaryIndex();
            const bool is_text =
                column >= ScanSource::kOwnColumns && column < source.columns() &&
                source.schema.variants[column - ScanSource::kOwnColumns].type == FieldType::kString;
            if (!is_text || wanted.text.value_or(column) != column) {
                wanted.others = true;
            } else {
                wanted.text = column;
            }
        }
        return wanted;
    }

    /// Part `at` of a list without its file, if the scan wants no more of it than its index or the
    /// catalogue has counted.
    duckdb::shared_ptr<AnsweredPart> answer(const PartList& parts,
                                            std::size_t at,
                                            const duckdb::OpenFileInfo& file,
                                            const duckdb::vector<duckdb::ColumnIndex>& column_ids,
                                            duckdb::optional_ptr<duckdb::TableFilterSet> filters,
                                            const duckdb::MultiFileGlobalState& state) const {
        const auto& source = parts.source();
        const auto& chosen = parts.parts()[at];
        const auto wanted = wanted_of(column_ids, state, source);
        if (wanted.others || (wanted.text.has_value() && chosen.rows != nullptr)) {
            return nullptr;
        }
        if (filters != nullptr) {
            std::vector<std::uint64_t> columns;
            for (const auto& id : column_ids) {
                columns.push_back(id.GetPrimaryIndex());
            }
            const BoundsOf times = [&](std::size_t column) {
                return column == ScanSource::kTimestamp ? part_bounds(*chosen.part, source, column)
                                                        : ColumnBounds{.min = {}, .max = {}};
            };
            if (!must_pass(*filters, columns, source, times)) {
                return nullptr;
            }
        }
        if (!wanted.text.has_value()) {
            return duckdb::make_shared_ptr<AnsweredPart>(
                file,
                chosen.rows != nullptr ? static_cast<std::int64_t>(chosen.rows->count())
                                       : chosen.part->rows);
        }
        auto runs = count_values(parts, at, *wanted.text);
        if (!runs.has_value()) {
            return nullptr;
        }
        duckdb::MultiFileColumnDefinition column(source.column_names[*wanted.text],
                                                 duckdb::LogicalType::VARCHAR);
        column.identifier = duckdb::Value::INTEGER(field_id(source, *wanted.text));
        return duckdb::make_shared_ptr<AnsweredPart>(file, std::move(column), std::move(*runs));
    }

    /// The values of a column of texts in part `at`; nothing: its index does not list them.
    std::optional<std::vector<ValueRun>> count_values(const PartList& parts,
                                                      std::size_t at,
                                                      std::size_t column) const {
        const auto& source = parts.source();
        const auto& part = *parts.parts()[at].part;
        if (part_bounds(part, source, column).kind == ColumnBounds::Kind::kAllNull) {
            return std::vector<ValueRun>{{.value = std::nullopt, .rows = part.rows}};
        }
        std::optional<std::vector<ValueCount>> counts;
        {
            const QueryMemory::Scope uncounted(nullptr);
            parts.read_indexes_ahead(parts.parts(), at);
            if (auto index = PartIndex::find(*state_, part)) {
                counts = index->value_counts(
                    source.schema.variants[column - ScanSource::kOwnColumns].id);
            }
        }
        if (!counts.has_value()) {
            return std::nullopt;
        }
        std::vector<ValueRun> runs;
        auto without = part.rows;
        for (const auto& [value, rows] : *counts) {
            runs.push_back({.value = value, .rows = static_cast<std::int64_t>(rows)});
            without -= runs.back().rows;
        }
        runs.push_back({.value = std::nullopt, .rows = without});
        state_->note_index({.parts = 1, .parts_counted = 1});
        const QueryMemory::Scope uncounted(nullptr);
        counts.reset();
        return runs;
    }

    using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
    static constexpr std::uint64_t kAnyGap = UINT64_MAX;

    /// What the scan reads in one request each: column chunks of a row group with no more than
    /// `gap_bytes` between them, or the whole group where at least half of it is wanted.
    static Ranges extents(duckdb::ParquetReader& reader, const ObjectReader& objects) {
        Ranges extents;
        for (const auto& group : reader.GetFileMetadata()->row_groups) {
            std::uint64_t all_bytes = 0;
            for (const auto& column : group.columns) {
                all_bytes += static_cast<std::uint64_t>(column.meta_data.total_compressed_size);
            }
            Ranges wanted;
            std::uint64_t wanted_bytes = 0;
            for (duckdb::idx_t i = 0; i < reader.column_ids.size(); ++i) {
                const auto column = reader.column_ids[duckdb::MultiFileLocalIndex(i)].GetId();
                if (column < group.columns.size()) {
                    wanted.push_back(chunk_range(group.columns[column].meta_data));
                    wanted_bytes += wanted.back().second - wanted.back().first;
                }
            }
            const auto gap = wanted_bytes * 2 >= all_bytes ? kAnyGap : objects.gap_bytes();
            // One chunk is one read anyway, but it may be read ahead.
            merge_into(extents, std::move(wanted), gap, objects.reads_ahead() ? 1 : 2);
        }
        return extents;
    }
    /// Adds what `ranges` make, of `chunks_min` of them at least.
    static void merge_into(Ranges& extents,
                           Ranges ranges,
                           std::uint64_t gap_bytes,
                           std::size_t chunks_min) {
        // Read column by column beyond it, whatever the query wants.
        constexpr std::uint64_t kExtentBytesMax = 8U << 20U;
        std::ranges::sort(ranges);
        for (std::size_t begin = 0; begin < ranges.size();) {
            auto extent = ranges[begin];
            auto end = begin + 1;
            while (end < ranges.size() &&
                   ranges[end].first <= extent.second + std::min(gap_bytes, kExtentBytesMax) &&
                   ranges[end].second - extent.first <= kExtentBytesMax) {
                extent.second = std::max(extent.second, ranges[end].second);
                ++end;
            }
            if (end - begin >= chunks_min && extent.second - extent.first <= kExtentBytesMax) {
                extents.push_back(extent);
            }
            begin = end;
        }
    }
    static std::pair<std::uint64_t, std::uint64_t> chunk_range(
        const duckdb_parquet::ColumnMetaData& chunk) {
        const auto begin = static_cast<std::uint64_t>(chunk.__isset.dictionary_page_offset &&
                                                              chunk.dictionary_page_offset > 0
                                                          ? chunk.dictionary_page_offset
                                                          : chunk.data_page_offset);
        return {begin, begin + static_cast<std::uint64_t>(chunk.total_compressed_size)};
    }
    static Ranges column_chunks(const duckdb_parquet::FileMetaData& metadata) {
        Ranges chunks;
        for (const auto& group : metadata.row_groups) {
            for (const auto& column : group.columns) {
                chunks.push_back(chunk_range(column.meta_data));
            }
        }
        std::ranges::sort(chunks);
        return chunks;
    }
    static std::int32_t field_id(const ScanSource& source, std::size_t column) {
        constexpr std::array<std::int32_t, ScanSource::kOwnColumns> kOwn = {kTimestampFieldId,
                                                                            kTimestampNanosFieldId,
                                                                            kShardFieldId,
                                                                            kPositionFieldId,
                                                                            kExtraFieldId};
        // Fields that only hot rows have count from -1 down: no part has such a column.
        return column < kOwn.size()
                   ? kOwn[column]
                   : source.schema.variants[column - ScanSource::kOwnColumns].id.value;
    }

    std::shared_ptr<InstanceState> state_;
};

}  // namespace

void register_part_scan(duckdb::DuckDB& database,
                        duckdb::Connection& connection,
                        const std::shared_ptr<InstanceState>& state) {
    auto function = duckdb::ParquetScanFunction::GetFunctionSet().functions.at(0);
    function.name = "ms_parts";
    function.arguments = {duckdb::LogicalType::UBIGINT};
    function.named_parameters.clear();
    function.get_multi_file_reader = PartReader::make;
    // The rows of files are not those of a selection, from which a filter may have been taken out.
    function.get_partition_stats = nullptr;
    auto info = duckdb::make_shared_ptr<PartsInfo>();
    info->state = state;
    function.function_info = std::move(info);
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        loader.RegisterFunction(function);
    });
}

}  // namespace molesignal
