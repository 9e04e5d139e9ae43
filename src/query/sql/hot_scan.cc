// ms_hot(handle): the hot rows of a stream as a DuckDB table function, without copying text.
#include <algorithm>
#include <bit>

#include <duckdb.hpp>
#include <duckdb/execution/expression_executor.hpp>
#include <duckdb/function/table_function.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <duckdb/planner/expression/bound_reference_expression.hpp>
#include <duckdb/planner/filter/expression_filter.hpp>
#include <duckdb/planner/table_filter.hpp>

#include "query/sql/duckdb_types.h"
#include "query/sql/engine_instance.h"
#include "query/sql/parts/part_pruning.h"

namespace molesignal {
namespace {

using duckdb::idx_t;

std::int64_t floor_us(std::int64_t nanos) {
    return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

struct HotInfo final : duckdb::TableFunctionInfo {
    std::shared_ptr<InstanceState> state;
};

struct HotBind final : duckdb::TableFunctionData {
    std::shared_ptr<const ScanSource> source;
    std::shared_ptr<ScanCounters> counters;
    duckdb::vector<duckdb::LogicalType> types;
};

struct HotGlobal final : duckdb::GlobalTableFunctionState {
    std::atomic<std::size_t> next_chunk{0};
    std::size_t chunks = 0;
    duckdb::vector<duckdb::column_t> columns;
    duckdb::vector<idx_t> projection;
    duckdb::unique_ptr<duckdb::TableFilterSet> filters;
    idx_t MaxThreads() const override { return std::max<std::size_t>(1, chunks); }
};

struct HotLocal final : duckdb::LocalTableFunctionState {
    const HotChunk* chunk = nullptr;
    std::uint32_t row = 0;
    std::vector<const HotColumnView*> views;  ///< Of the chunk, by scanned column; null: all null.
    duckdb::DataChunk scanned;
    duckdb::vector<duckdb::unique_ptr<duckdb::Expression>> filters;
};

duckdb::unique_ptr<duckdb::FunctionData> bind_hot(duckdb::ClientContext&,
                                                  duckdb::TableFunctionBindInput& input,
                                                  duckdb::vector<duckdb::LogicalType>& types,
                                                  duckdb::vector<duckdb::string>& names) {
    auto& state = *input.info->Cast<HotInfo>().state;
    auto bind = duckdb::make_uniq<HotBind>();
    bind->source = state.source(input.inputs[0].GetValue<std::uint64_t>());
    {
        const MutexLock lock(state.mutex);
        bind->counters = state.counters;
    }
    for (std::size_t column = 0; column < bind->source->columns(); ++column) {
        types.push_back(duckdb_type_of(*bind->source, column));
        names.push_back(bind->source->column_names[column]);
    }
    bind->types = types;
    return bind;
}

duckdb::unique_ptr<duckdb::GlobalTableFunctionState> init_global(
    duckdb::ClientContext&, duckdb::TableFunctionInitInput& input) {
    const auto& bind = input.bind_data->Cast<HotBind>();
    auto global = duckdb::make_uniq<HotGlobal>();
    global->chunks = bind.source->hot.chunks.size();
    global->columns = input.column_ids;
    global->projection = input.projection_ids;
    if (input.filters) {
        global->filters = input.filters->Copy();
    }
    return global;
}

duckdb::unique_ptr<duckdb::LocalTableFunctionState> init_local(
    duckdb::ExecutionContext& context,
    duckdb::TableFunctionInitInput& input,
    duckdb::GlobalTableFunctionState* state) {
    const auto& bind = input.bind_data->Cast<HotBind>();
    auto& global = state->Cast<HotGlobal>();
    auto local = duckdb::make_uniq<HotLocal>();
    duckdb::vector<duckdb::LogicalType> types;
    for (const auto column : global.columns) {
        types.push_back(column < bind.types.size() ? bind.types[column]
                                                   : duckdb::LogicalType::BIGINT);
    }
    local->scanned.Initialize(duckdb::Allocator::Get(context.client), types);
    if (global.filters) {
        for (auto& [index, filter] : global.filters->filters) {
            const duckdb::BoundReferenceExpression column(types[index], index);
            local->filters.push_back(filter->ToExpression(column));
        }
    }
    return local;
}

/// The view of a scanned column in `chunk`: kOwnColumns - 1 is `_extra`, later ones are variants.
const HotColumnView* view_of(const HotChunk& chunk,
                             const ScanSource& source,
                             duckdb::column_t column) {
    if (column + 1 == ScanSource::kOwnColumns) {
        return chunk.find(kExtraField, FieldType::kJson);
    }
    const auto variant = column - ScanSource::kOwnColumns;
    if (column < ScanSource::kOwnColumns || variant >= source.schema.variants.size()) {
        return nullptr;
    }
    const auto& field = source.schema.variants[variant];
    return chunk.find(field.name, field.type);
}

void fill_own(duckdb::Vector& vector,
              duckdb::column_t column,
              const HotChunk& chunk,
              std::uint32_t row,
              std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto time = chunk.timestamps[row + i];
        switch (column) {
            case 0:
                duckdb::FlatVector::GetData<std::int64_t>(vector)[i] = floor_us(time);
                break;
            case 1:
                duckdb::FlatVector::GetData<std::int16_t>(vector)[i] =
                    static_cast<std::int16_t>(time - floor_us(time) * 1000);
                break;
            case 2:
                duckdb::FlatVector::GetData<std::int64_t>(vector)[i] =
                    static_cast<std::int64_t>(chunk.shard.value);
                break;
            default:
                duckdb::FlatVector::GetData<std::int64_t>(vector)[i] =
                    static_cast<std::int64_t>(chunk.first_position.value + row + i);
        }
    }
}

/// Puts the value in `slot` of the column at row `to` of the vector.
void put_value(duckdb::Vector& vector, idx_t to, const HotColumnView& view, std::uint32_t slot) {
    switch (view.type) {
        case FieldType::kBool:
            duckdb::FlatVector::GetData<bool>(vector)[to] = view.fixed[slot] != 0;
            break;
        case FieldType::kInt64:
            duckdb::FlatVector::GetData<std::int64_t>(vector)[to] =
                static_cast<std::int64_t>(view.fixed[slot]);
            break;
        case FieldType::kUint64:
            duckdb::FlatVector::GetData<std::uint64_t>(vector)[to] = view.fixed[slot];
            break;
        case FieldType::kFloat64:
            duckdb::FlatVector::GetData<double>(vector)[to] =
                std::bit_cast<double>(view.fixed[slot]);
            break;
        case FieldType::kTimestamp:
            duckdb::FlatVector::GetData<std::int64_t>(vector)[to] =
                floor_us(static_cast<std::int64_t>(view.fixed[slot]));
            break;
        case FieldType::kString:
        case FieldType::kBytes:
        case FieldType::kJson: {
            // The text stays where it is; the snapshot outlives the query.
            const auto text = view.text(slot);
            duckdb::FlatVector::GetData<duckdb::string_t>(vector)[to] =
                duckdb::string_t(text.data(), static_cast<std::uint32_t>(text.size()));
            break;
        }
    }
}

void fill_field(duckdb::Vector& vector,
                const HotColumnView* view,
                std::uint32_t row,
                std::uint32_t count) {
    auto& validity = duckdb::FlatVector::Validity(vector);
    if (view == nullptr || view->is_sparse()) {
        validity.SetAllInvalid(count);
        if (view == nullptr) {
            return;
        }
        for (auto slot = view->sparse_lower_bound(row);
             slot < view->sparse_size && view->sparse_rows[slot] < row + count;
             ++slot) {
            const idx_t to = view->sparse_rows[slot] - row;
            validity.SetValid(to);
            put_value(vector, to, *view, slot);
        }
        return;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        if (const auto slot = view->slot(row + i); slot == HotColumnView::kNoSlot) {
            validity.SetInvalid(i);
        } else {
            put_value(vector, i, *view, slot);
        }
    }
}

/// Takes the next chunk that may hold rows of the query's time range.
bool next_chunk(const HotBind& bind, HotGlobal& global, HotLocal& local) {
    const auto& source = *bind.source;
    while (true) {
        const auto index = global.next_chunk++;
        if (index >= source.hot.chunks.size()) {
            return false;
        }
        const auto& chunk = source.hot.chunks[index];
        if (global.filters && !may_pass(*global.filters, global.columns, source, [&](auto column) {
                return chunk_bounds(chunk, column);
            })) {
            continue;
        }
        local.chunk = &chunk;
        local.row = chunk.begin;
        local.views.clear();
        for (const auto column : global.columns) {
            local.views.push_back(view_of(chunk, source, column));
        }
        bind.counters->rows += chunk.rows - chunk.begin;
        bind.counters->hot_rows += chunk.rows - chunk.begin;
        return true;
    }
}

void scan_hot(duckdb::ClientContext& context,
              duckdb::TableFunctionInput& input,
              duckdb::DataChunk& output) {
    const auto& bind = input.bind_data->Cast<HotBind>();
    auto& global = input.global_state->Cast<HotGlobal>();
    auto& local = input.local_state->Cast<HotLocal>();
    while (true) {
        if (local.chunk == nullptr || local.row == local.chunk->rows) {
            if (!next_chunk(bind, global, local)) {
                return;
            }
        }
        const auto count =
            std::min<std::uint32_t>(STANDARD_VECTOR_SIZE, local.chunk->rows - local.row);
        local.scanned.Reset();
        for (idx_t i = 0; i < global.columns.size(); ++i) {
            const auto column = global.columns[i];
            if (column + 1 < ScanSource::kOwnColumns) {
                fill_own(local.scanned.data[i], column, *local.chunk, local.row, count);
            } else if (column < bind.types.size()) {
                fill_field(local.scanned.data[i], local.views[i], local.row, count);
            }
        }
        local.scanned.SetCardinality(count);
        local.row += count;
        for (auto& filter : local.filters) {
            duckdb::SelectionVector selected(STANDARD_VECTOR_SIZE);
            duckdb::ExpressionExecutor executor(context, *filter);
            const auto kept = executor.SelectExpression(local.scanned, selected);
            if (kept < local.scanned.size()) {
                local.scanned.Slice(selected, kept);
            }
        }
        if (local.scanned.size() == 0) {
            continue;
        }
        if (global.projection.empty()) {
            output.Reference(local.scanned);
        } else {
            output.ReferenceColumns(local.scanned, global.projection);
        }
        return;
    }
}

duckdb::unique_ptr<duckdb::NodeStatistics> hot_cardinality(duckdb::ClientContext&,
                                                           const duckdb::FunctionData* data) {
    const auto rows = data->Cast<HotBind>().source->hot.rows();
    return duckdb::make_uniq<duckdb::NodeStatistics>(rows, rows);
}

}  // namespace

void register_hot_scan(duckdb::DuckDB& database,
                       duckdb::Connection& connection,
                       const std::shared_ptr<InstanceState>& state) {
    duckdb::TableFunction function(
        "ms_hot", {duckdb::LogicalType::UBIGINT}, scan_hot, bind_hot, init_global, init_local);
    function.projection_pushdown = true;
    function.filter_pushdown = true;
    function.filter_prune = true;
    function.cardinality = hot_cardinality;
    auto info = duckdb::make_shared_ptr<HotInfo>();
    info->state = state;
    function.function_info = info;
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        loader.RegisterFunction(function);
    });
}

}  // namespace molesignal
