#include "query/sql/query_streams.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/nearest_name.h"
#include "query/search_schema.h"
#include "query/sql/guard/lower_name.h"

namespace molesignal {
namespace {

std::vector<std::string> full_text_columns(const ScanSource& source) {
    std::vector<std::string> columns;
    for (const auto& field : source.schema.logical_fields()) {
        if (is_full_text_field(source.stream.settings, field.name)) {
            columns.push_back(field.sql_name);
        }
    }
    return columns;
}

}  // namespace

QueryStreams::QueryStreams(Catalogue& catalogue,
                           HotSource& hot,
                           OrgId org,
                           Range range,
                           ScanCounters& counters,
                           AddSource add_source)
    : catalogue_(catalogue),
      hot_(hot),
      org_(std::move(org)),
      range_(range),
      counters_(counters),
      add_source_(std::move(add_source)) {}

Result<TableReplacement> QueryStreams::replace(const RequestContext& context,
                                               const GuardedTable& table) {
    const std::pair key(lower_name(table.schema), table.name);
    if (const auto known = ids_.find(key); known != ids_.end()) {
        return replacements_.at(known->second);
    }
    MS_TRY(const auto stream, find(context, table));
    // `app` and `logs.app` may be the same stream.
    if (const auto known = replacements_.find(stream.id.value); known != replacements_.end()) {
        ids_[key] = stream.id.value;
        return known->second;
    }
    if (sources_.size() >= kStreamsMax) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the statement names more than {} streams", kStreamsMax));
    }
    MS_TRY(auto source, take_snapshot(context, stream));
    TableReplacement replacement;
    replacement.subquery = stream_subquery(*source, add_source_(source));
    // The time, the fields, and five more of ours.
    replacement.columns = 1 + source->schema.logical_fields().size() + 5;
    replacement.scanned_columns = source->columns();
    replacement.full_text_columns = full_text_columns(*source);
    sources_.push_back(std::move(source));
    ids_[key] = stream.id.value;
    replacements_[stream.id.value] = replacement;
    return replacement;
}

Result<StreamInfo> QueryStreams::find(const RequestContext& context, const GuardedTable& table) {
    std::vector<StreamType> types = {StreamType::kLogs, StreamType::kMetrics, StreamType::kTraces};
    if (!table.schema.empty()) {
        const auto type = parse_stream_type(lower_name(table.schema));
        if (!type) {
            return Error(ErrorCode::kForbidden,
                         fmt::format("'{}.{}' is not a stream; streams are written logs.<name>",
                                     table.schema,
                                     table.name));
        }
        types = {*type};
    }
    for (const auto type : types) {
        MS_TRY(auto stream, catalogue_.find_stream(context, org_, type, table.name));
        if (stream.has_value()) {
            return std::move(*stream);
        }
    }
    const auto asked = table.schema.empty() ? table.name : table.schema + "." + table.name;
    MS_TRY(const auto streams, catalogue_.list_streams(context, org_));
    std::vector<std::string> names;
    for (const auto& stream : streams) {
        names.push_back(table.schema.empty()
                            ? stream.name
                            : fmt::format("{}.{}", stream_type_name(stream.type), stream.name));
    }
    const auto nearest = nearest_names(asked, names);
    return Error(ErrorCode::kNotFound,
                 fmt::format("no stream is called '{}'{}",
                             asked,
                             names.empty() ? "; there are none yet"
                             : nearest.empty()
                                 ? ""
                                 : fmt::format("; the nearest are {}", fmt::join(nearest, ", "))));
}

Result<std::shared_ptr<const ScanSource>> QueryStreams::take_snapshot(const RequestContext& context,
                                                                      const StreamInfo& stream) {
    auto source = std::make_shared<ScanSource>();
    // Hot rows first, the catalogue second: docs/decisions/0002-snapshot-order.md.
    source->hot = hot_.hot_snapshot(stream.id);
    std::int64_t parts_total = 0;
    const auto last_us = range_.end_us == INT64_MAX ? INT64_MAX : range_.end_us - 1;
    MS_TRY(auto snapshot,
           catalogue_.snapshot(context, stream.id, range_.start_us, last_us, parts_total));
    std::vector<std::pair<ShardId, Position>> checkpoints;
    for (const auto& shard : snapshot.shards) {
        checkpoints.emplace_back(shard.id, shard.checkpoint);
    }
    drop_flushed_rows(source->hot, checkpoints);
    source->stream = std::move(snapshot.stream);
    source->schema = std::move(snapshot.schema);
    add_hot_fields(source->schema, source->hot);
    name_columns(*source);
    source->start_us = range_.start_us;
    source->end_us = range_.end_us;
    source->parts = std::move(snapshot.parts);
    source->id_packs = std::move(snapshot.id_packs);
    source->parts_total = parts_total;
    counters_.parts_total += parts_total;
    if (!counted_field_.empty()) {
        source->counting = FieldCounting{.field = counted_field_, .counts = {}};
        MS_TRY_VOID(count_values_(*source));
        counters_.values_counted = source->counting->is_counted;
    }
    return std::shared_ptr<const ScanSource>(std::move(source));
}

}  // namespace molesignal
