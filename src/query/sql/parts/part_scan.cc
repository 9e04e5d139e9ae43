// ms_parts(handle): the parts of a stream by DuckDB's own Parquet reader. The list of files is
// ours: it shrinks by the filters that DuckDB pushes into the scan; columns are found by their
// field ids.
#include <algorithm>

#include <duckdb.hpp>
#include <duckdb/common/multi_file/multi_file_reader.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/optimizer/optimizer_extension.hpp>
#include <duckdb/parser/expression/constant_expression.hpp>
#include <duckdb/planner/expression_iterator.hpp>
#include <duckdb/planner/logical_operator_visitor.hpp>
#include <duckdb/planner/operator/logical_get.hpp>
#include <parquet_multi_file_info.hpp>

#include "query/sql/duckdb_types.h"
#include "query/sql/engine_instance.h"
#include "query/sql/parts/answered_part.h"
#include "query/sql/parts/chosen_rows.h"
#include "query/sql/parts/parsed_footers.h"
#include "query/sql/parts/scan_parts.h"

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

constexpr const char* kFunctionName = "ms_parts";

struct PartsInfo final : duckdb::TableFunctionInfo {
    std::shared_ptr<InstanceState> state;
};

/// Binds to the schema of a source instead of a file's, so that no object is opened for planning.
class PartReader final : public duckdb::MultiFileReader {
public:
    explicit PartReader(std::shared_ptr<InstanceState> state) : state_(std::move(state)) {
        function_name = kFunctionName;
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
        return ScanParts::of(state_, state_->source(std::stoull(handles.at(0))));
    }

    bool Bind(duckdb::MultiFileOptions&,
              duckdb::MultiFileList& files,
              duckdb::vector<duckdb::LogicalType>& types,
              duckdb::vector<duckdb::string>& names,
              duckdb::MultiFileReaderBindData& bind_data) override {
        const auto& source = files.Cast<ScanParts>().source();
        for (std::size_t column = 0; column < source.columns(); ++column) {
            names.push_back(source.column_names[column]);
            types.push_back(duckdb_type_of(source, column));
            duckdb::MultiFileColumnDefinition definition(names.back(), types.back());
            definition.identifier = duckdb::Value::INTEGER(parquet_field_id(source, column));
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
        for (const auto& chosen : files.Cast<ScanParts>().parts()) {
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
        const auto& parts = state.file_list.Cast<ScanParts>();
        const auto at = data.reader->file_list_idx.GetIndex();
        const auto& chosen = parts.parts().at(at);
        const auto file = data.reader->file;
        if (object_path(*chosen.part) != file.path) {
            throw duckdb::InternalException("a reader has another part's place in the list");
        }
        ScanOutput output(parts, column_ids, state.projection_ids);
        if (filters != nullptr) {
            output.filter_scan(*filters);
        }
        if (auto answered = answer_part(*state_, parts, at, output)) {
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
        const auto demand = output.demand_of(chosen);
        const auto initialized = MultiFileReader::InitializeReader(
            data, bind_data, columns, demand.columns, demand.filters.get(), context, state);
        state_->read_together(file.path, extents(reader, *state_->reader));
        return initialized;
    }

private:
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

    std::shared_ptr<InstanceState> state_;
};

/// The list of parts of a scan of the plan; null: it is another operator.
duckdb::shared_ptr<duckdb::MultiFileList>* parts_of(duckdb::LogicalOperator& plan) {
    if (plan.type != duckdb::LogicalOperatorType::LOGICAL_GET) {
        return nullptr;
    }
    auto& get = plan.Cast<duckdb::LogicalGet>();
    return get.function.name == kFunctionName
               ? &get.bind_data->Cast<duckdb::MultiFileBindData>().file_list
               : nullptr;
}

/// Of each scan of a plan that is explained: which of its parts are not read, now that its columns
/// are known.
void note_counted_parts(InstanceState& state, duckdb::LogicalOperator& plan) {
    for (auto& child : plan.children) {
        note_counted_parts(state, *child);
    }
    const auto* const files = parts_of(plan);
    if (files == nullptr) {
        return;
    }
    const auto& get = plan.Cast<duckdb::LogicalGet>();
    const auto& list = (*files)->Cast<ScanParts>();
    ScanOutput output(list, get.GetColumnIds(), get.projection_ids);
    output.filter_plan(get.table_filters);
    auto parts = list.parts();
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].reading == PartReading::kUnasked &&
            answer_part(state, list, i, output) != nullptr) {
            parts[i].reading = PartReading::kCounted;
        }
    }
    state.note_scan(get.table_index, list.report_of(parts));
}

/// Tells the scans of parts below that nobody looks at their rows. A scan hands on one column at
/// least: of a query that only counts rows those it filters by.
void note_unread_rows(duckdb::LogicalOperator& plan) {
    if (plan.type == duckdb::LogicalOperatorType::LOGICAL_UNION) {
        for (auto& child : plan.children) {
            note_unread_rows(*child);
        }
    } else if (auto* const files = parts_of(plan)) {
        *files = (*files)->Cast<ScanParts>().as_unread();
    }
}

void note_unread_columns(duckdb::LogicalOperator& plan) {
    for (auto& child : plan.children) {
        note_unread_columns(*child);
    }
    // These hand nothing on but what their expressions make.
    if (plan.type != duckdb::LogicalOperatorType::LOGICAL_PROJECTION &&
        plan.type != duckdb::LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY) {
        return;
    }
    bool reads_any = false;
    duckdb::LogicalOperatorVisitor::EnumerateExpressions(
        plan, [&](duckdb::unique_ptr<duckdb::Expression>* expression) {
            duckdb::ExpressionIterator::EnumerateExpression(
                *expression, [&](duckdb::Expression& part) {
                    reads_any = reads_any || part.GetExpressionClass() ==
                                                 duckdb::ExpressionClass::BOUND_COLUMN_REF;
                });
        });
    if (!reads_any) {
        note_unread_rows(*plan.children.at(0));
    }
}

struct PlanInfo final : duckdb::OptimizerExtensionInfo {
    std::shared_ptr<InstanceState> state;
};

/// Looks at each plan when it is done.
void register_plan_notes(duckdb::DuckDB& database, const std::shared_ptr<InstanceState>& state) {
    auto info = duckdb::make_shared_ptr<PlanInfo>();
    info->state = state;
    duckdb::OptimizerExtension extension;
    extension.optimizer_info = std::move(info);
    extension.optimize_function = [](duckdb::OptimizerExtensionInput& input,
                                     duckdb::unique_ptr<duckdb::LogicalOperator>& plan) {
        note_unread_columns(*plan);
        auto& kept = *static_cast<PlanInfo&>(*input.info).state;
        if (kept.explains) {
            note_counted_parts(kept, *plan);
        }
    };
    duckdb::DBConfig::GetConfig(*database.instance)
        .optimizer_extensions.push_back(std::move(extension));
}

}  // namespace

void register_part_scan(duckdb::DuckDB& database,
                        duckdb::Connection& connection,
                        const std::shared_ptr<InstanceState>& state) {
    auto function = duckdb::ParquetScanFunction::GetFunctionSet().functions.at(0);
    function.name = kFunctionName;
    function.arguments = {duckdb::LogicalType::UBIGINT};
    function.named_parameters.clear();
    function.get_multi_file_reader = PartReader::make;
    // The rows of files are not those of a selection, from which a filter may have been taken out.
    function.get_partition_stats = nullptr;
    auto info = duckdb::make_shared_ptr<PartsInfo>();
    info->state = state;
    function.function_info = std::move(info);
    register_plan_notes(database, state);
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        loader.RegisterFunction(function);
    });
}

}  // namespace molesignal
