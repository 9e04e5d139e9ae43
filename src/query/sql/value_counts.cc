// The values of a field as indexes have counted them, and ms_counts(handle), which shows them.
#include "query/sql/value_counts.h"

#include <algorithm>
#include <map>
#include <utility>

#include <duckdb.hpp>
#include <duckdb/function/table_function.hpp>
#include <duckdb/main/extension/extension_loader.hpp>

#include "query/sql/engine_instance.h"
#include "query/sql/parts/part_index.h"

namespace molesignal {
namespace {

/// Of all parts together; more are counted by reading them.
constexpr std::size_t kValuesMax = 100'000;
/// Without a count in the first parts there is none in the others.
constexpr std::size_t kTriesMax = 4;
/// So many parts' indexes are fetched while one is asked.
constexpr std::size_t kAhead = 8;
/// What a value takes beside its bytes.
constexpr std::size_t kValueBytes = 128;

/// The only variant of a field of texts; nothing: it has others.
std::optional<FieldId> text_variant(const StreamSchema& schema, const std::string& name) {
    for (const auto& field : schema.logical_fields()) {
        if (field.name == name && field.variants.size() == 1 &&
            field.variants.front().type == FieldType::kString) {
            return field.variants.front().id;
        }
    }
    return std::nullopt;
}

/// What is counted so far, and where.
struct Counts {
    std::map<std::string, std::int64_t, std::less<>> values;
    std::size_t bytes = 0;
    std::int64_t rows_without = 0;
    std::int64_t rows = 0;  ///< Of the parts that were counted.
    std::vector<PartInfo> others;
    std::int64_t other_rows = 0;

    /// Whether the indexes may have at least half of `all_rows`, in not too many values.
    bool is_worthwhile(std::int64_t all_rows) const {
        return other_rows * 2 <= all_rows && values.size() <= kValuesMax;
    }
    void add(const PartInfo& part, const std::vector<ValueCount>& counted) {
        auto without = part.rows;
        for (const auto& [value, value_rows] : counted) {
            const auto [place, is_new] = values.try_emplace(value, 0);
            place->second += static_cast<std::int64_t>(value_rows);
            without -= static_cast<std::int64_t>(value_rows);
            bytes += is_new ? value.size() + kValueBytes : 0;
        }
        rows_without += without;
        rows += part.rows;
    }
};

std::int64_t all_rows_of(const ScanSource& source) {
    std::int64_t rows = 0;
    for (const auto& part : source.parts) {
        rows += part.rows;
    }
    return rows;
}

/// Nothing: it is not worthwhile.
Result<std::optional<Counts>> count_parts(InstanceState& state,
                                          const RequestContext& context,
                                          const ScanSource& source,
                                          FieldId field) {
    Counts counts;
    std::size_t tries = 0;
    const auto all_rows = all_rows_of(source);
    for (std::size_t i = 0; i < source.parts.size(); ++i) {
        const auto& part = source.parts[i];
        MS_TRY_VOID(context.check());
        for (auto next = i == 0 ? 1 : i + kAhead; next <= i + kAhead && next < source.parts.size();
             ++next) {
            PartIndex::read_ahead(state, source.parts[next]);
        }
        const bool is_within =
            part.time_min_us >= source.start_us && part.time_max_us < source.end_us;
        auto index = is_within ? PartIndex::find(state, part) : std::nullopt;
        const auto counted = index.has_value() ? index->value_counts(field)
                                               : std::optional<std::vector<ValueCount>>();
        if (counted.has_value()) {
            counts.add(part, *counted);
        } else {
            counts.others.push_back(part);
            counts.other_rows += part.rows;
            tries += is_within ? 1 : 0;
        }
        const bool is_hopeless = counts.rows == 0 && tries >= kTriesMax;
        if (is_hopeless || !counts.is_worthwhile(all_rows)) {
            return std::optional<Counts>();
        }
    }
    return counts.rows > 0 ? std::optional(std::move(counts)) : std::nullopt;
}

struct CountsInfo final : duckdb::TableFunctionInfo {
    std::shared_ptr<InstanceState> state;
};

struct CountsBind final : duckdb::TableFunctionData {
    std::shared_ptr<const ScanSource> source;
};

struct CountsPlace final : duckdb::GlobalTableFunctionState {
    std::size_t next = 0;
};

duckdb::unique_ptr<duckdb::FunctionData> bind_counts(duckdb::ClientContext&,
                                                     duckdb::TableFunctionBindInput& input,
                                                     duckdb::vector<duckdb::LogicalType>& types,
                                                     duckdb::vector<duckdb::string>& names) {
    auto bind = duckdb::make_uniq<CountsBind>();
    bind->source =
        input.info->Cast<CountsInfo>().state->source(input.inputs[0].GetValue<std::uint64_t>());
    types = {duckdb::LogicalType::VARCHAR, duckdb::LogicalType::BIGINT};
    names = {"value", "rows"};
    return bind;
}

duckdb::unique_ptr<duckdb::GlobalTableFunctionState> init_counts(duckdb::ClientContext&,
                                                                 duckdb::TableFunctionInitInput&) {
    return duckdb::make_uniq<CountsPlace>();
}

void scan_counts(duckdb::ClientContext&,
                 duckdb::TableFunctionInput& input,
                 duckdb::DataChunk& output) {
    const auto& counts = input.bind_data->Cast<CountsBind>().source->counting->counts;
    auto& place = input.global_state->Cast<CountsPlace>();
    const auto count = std::min<std::size_t>(STANDARD_VECTOR_SIZE, counts.size() - place.next);
    auto* const values = duckdb::FlatVector::GetData<duckdb::string_t>(output.data[0]);
    auto* const rows = duckdb::FlatVector::GetData<std::int64_t>(output.data[1]);
    for (std::size_t i = 0; i < count; ++i) {
        const auto& [value, value_rows] = counts[place.next + i];
        if (value.has_value()) {
            values[i] =
                duckdb::StringVector::AddString(output.data[0], value->data(), value->size());
        } else {
            duckdb::FlatVector::SetNull(output.data[0], i, true);
        }
        rows[i] = value_rows;
    }
    place.next += count;
    output.SetCardinality(count);
}

}  // namespace

Result<> count_values(InstanceState& state, const RequestContext& context, ScanSource& source) {
    // What is kept is charged below.
    const QueryMemory::Scope uncounted(nullptr);
    auto& counting = *source.counting;
    const auto field = text_variant(source.schema, counting.field);
    if (!field.has_value()) {
        return {};
    }
    MS_TRY(auto counted, count_parts(state, context, source, *field));
    if (!counted.has_value()) {
        return {};
    }
    auto& counts = *counted;
    if (!state.memory->charge(static_cast<std::int64_t>(counts.bytes))) {
        return {};
    }
    for (auto& [value, rows] : counts.values) {
        counting.counts.emplace_back(value, rows);
    }
    if (counts.rows_without > 0) {
        counting.counts.emplace_back(std::nullopt, counts.rows_without);
    }
    counting.is_counted = true;
    state.note_index(
        {.parts = static_cast<std::int64_t>(source.parts.size() - counts.others.size())});
    source.parts = std::move(counts.others);
    return {};
}

void register_value_counts(duckdb::DuckDB& database,
                           duckdb::Connection& connection,
                           const std::shared_ptr<InstanceState>& state) {
    duckdb::TableFunction function(
        "ms_counts", {duckdb::LogicalType::UBIGINT}, scan_counts, bind_counts, init_counts);
    auto info = duckdb::make_shared_ptr<CountsInfo>();
    info->state = state;
    function.function_info = info;
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "molesignal");
        loader.RegisterFunction(function);
    });
}

}  // namespace molesignal
