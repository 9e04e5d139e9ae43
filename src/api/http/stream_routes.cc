// /api/v1/streams: what there is, with counts; settings; deletion.
#include <algorithm>
#include <charconv>
#include <map>
#include <span>

#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/json_value.h"

namespace molesignal {
namespace {

constexpr std::size_t kBodyBytesMax = 1 << 20;
constexpr std::int64_t kRetentionDaysMax = 36'500;
constexpr std::size_t kPageStreamsDefault = 1'000;
constexpr std::size_t kPageStreamsMax = 10'000;
/// Parts whose indexes a stream's description is made of, and how long reading them may take.
constexpr std::size_t kIndexSampleParts = 64;
constexpr std::chrono::seconds kIndexSampleTime{2};

void append_settings(std::string& out, const StreamSettings& settings) {
    out += "{\"retention_days\":";
    out += settings.retention_days.has_value() ? std::to_string(*settings.retention_days) : "null";
    out += ",\"full_text_fields\":[";
    for (std::size_t i = 0; i < settings.full_text_fields.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, settings.full_text_fields[i]);
    }
    out += "],\"pinned_types\":{";
    for (std::size_t i = 0; i < settings.pinned_types.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, settings.pinned_types[i].first);
        out += ":";
        append_json_string(out, field_type_name(settings.pinned_types[i].second));
    }
    out += "}}";
}

/// Sums over a stream's parts and the rows that are not in one yet.
struct StreamCounts {
    std::int64_t parts = 0;
    std::int64_t rows = 0;  ///< Hot ones too.
    std::int64_t hot_rows = 0;
    std::int64_t bytes = 0;
    std::int64_t raw_bytes = 0;
    std::int64_t time_min_us = INT64_MAX;
    std::int64_t time_max_us = INT64_MIN;

    void add_hot(const HotSnapshot& hot) {
        hot_rows += static_cast<std::int64_t>(hot.rows());
        rows += static_cast<std::int64_t>(hot.rows());
        for (const auto& chunk : hot.chunks) {
            time_min_us = std::min(time_min_us, chunk.time_min_ns / 1000);
            time_max_us = std::max(time_max_us, (chunk.time_max_ns + 999) / 1000);
        }
    }
};

using Checkpoints = std::vector<std::pair<ShardId, Position>>;

/// All members of a stream's description but its fields, without the closing brace.
void append_stream(std::string& out,
                   const ApiServices& services,
                   const StreamInfo& stream,
                   const StreamCounts& counts) {
    const auto time = [&](std::int64_t micros) {
        return counts.rows > 0 ? std::to_string(micros) : "null";
    };
    out += "{\"id\":";
    append_json_string(out, stream.id.value);
    out += ",\"name\":";
    append_json_string(out, stream.name);
    out += fmt::format(
        R"(,"stream_type":"{}","created_at_micros":{},"rows":{},"hot_rows":{},"parts":{},"bytes":{},)"
        R"("raw_bytes":{},"time_min":{},"time_max":{},"settings":)",
        stream_type_name(stream.type),
        stream.created_us,
        counts.rows,
        counts.hot_rows,
        counts.parts,
        counts.bytes,
        counts.raw_bytes,
        time(counts.time_min_us),
        time(counts.time_max_us));
    append_settings(out, stream.settings);
    const auto days = stream.settings.retention_days.value_or(
        static_cast<std::int32_t>(services.config().compactor.retention_days));
    out += fmt::format(R"(,"effective_retention":{{"days":{}}})", days);
}

/// Which structures the indexes have for a field; that of the most parts first.
void append_index(std::string& out, const LogicalField& field, const IndexReport& report) {
    std::vector<std::pair<FieldIndexKind, FieldIndexUse>> sorted;
    if (const auto found = report.fields.find(field.name); found != report.fields.end()) {
        sorted.assign(found->second.begin(), found->second.end());
    }
    std::ranges::sort(
        sorted, {}, [](const auto& entry) { return std::pair(-entry.second.parts, entry.first); });
    out += ",\"index\":[";
    for (const auto& [kind, use] : sorted) {
        out += fmt::format(R"({}{{"kind":"{}","parts":{},"distinct":{},"bytes":{}}})",
                           out.back() == '[' ? "" : ",",
                           field_index_kind_name(kind),
                           use.parts,
                           use.distinct,
                           use.bytes);
    }
    out += "]";
}

void append_fields(std::string& out, const StreamSchema& schema, const IndexReport& report) {
    out += ",\"fields\":[";
    bool first = true;
    for (const auto& field : schema.logical_fields()) {
        out += first ? "{\"name\":" : ",{\"name\":";
        first = false;
        append_json_string(out, field.name);
        out += ",\"sql_name\":";
        append_json_string(out, field.sql_name);
        out += fmt::format(R"(,"type":"{}","seen_types":[)", field_type_name(field.type));
        for (std::size_t i = 0; i < field.variants.size(); ++i) {
            out +=
                fmt::format("{}\"{}\"", i == 0 ? "" : ",", field_type_name(field.variants[i].type));
        }
        out += "]";
        append_index(out, field, report);
        out += "}";
    }
    out += fmt::format(R"(],"index_parts_sampled":{},"index_parts_missing":{})",
                       report.parts,
                       report.parts_without);
}

/// Of the newest parts, which say best what rows are like now.
IndexReport sample_indexes(const RequestContext& context,
                           ApiServices& services,
                           const StreamSchema& schema,
                           std::span<const PartInfo> parts) {
    auto bounded = context;
    bounded.deadline = std::min(context.deadline, services.clock.steady_now() + kIndexSampleTime);
    return services.sql->report_indexes(
        bounded, schema, parts.first(std::min(parts.size(), kIndexSampleParts)));
}

/// One stream with its fields, from one snapshot: exact at one moment.
Result<std::string> describe(const RequestContext& context,
                             ApiServices& services,
                             const StreamInfo& stream) {
    auto hot = services.ingester->hot_snapshot(stream.id);
    StreamCounts counts;
    MS_TRY(
        auto snapshot,
        services.catalogue->table_snapshot(context, stream.id, INT64_MIN, INT64_MAX, counts.parts));
    Checkpoints checkpoints;
    for (const auto& shard : snapshot.shards) {
        checkpoints.emplace_back(shard.id, shard.checkpoint);
    }
    drop_flushed_rows(hot, checkpoints);
    for (const auto& part : snapshot.parts) {
        counts.rows += part.rows;
        counts.raw_bytes += part.raw_bytes;
        for (const auto& object : part.objects) {
            counts.bytes += object.bytes;
        }
        counts.time_min_us = std::min(counts.time_min_us, part.time_min_us);
        counts.time_max_us = std::max(counts.time_max_us, part.time_max_us);
    }
    for (const auto& dump : snapshot.dumps) {
        counts.rows += dump.rows;
        counts.raw_bytes += dump.raw_bytes;
        counts.bytes += dump.part_bytes;
        counts.time_min_us = std::min(counts.time_min_us, dump.time_min_us);
        counts.time_max_us = std::max(counts.time_max_us, dump.time_max_us);
    }
    counts.add_hot(hot);
    std::string out;
    append_stream(out, services, stream, counts);
    add_hot_fields(snapshot.schema, hot);
    if (snapshot.parts.empty() && !snapshot.dumps.empty()) {
        // Nothing came for long: then of the parts of the newest list.
        MS_TRY(const auto parts,
               services.catalogue->read_part_dump(context, snapshot.dumps.front()));
        snapshot.parts = *parts;
    }
    append_fields(
        out, snapshot.schema, sample_indexes(context, services, snapshot.schema, snapshot.parts));
    return out + "}";
}

Result<StreamInfo> find(ApiCall& call, ApiServices& services) {
    const StreamId id{call.path_parameter("id")};
    MS_TRY(auto stream, services.catalogue->get_stream(call.context, call.principal.org, id));
    if (!stream.has_value()) {
        return Error(ErrorCode::kNotFound, fmt::format("no stream has the id '{}'", id.value));
    }
    return std::move(*stream);
}

/// A page of streams: those after the cursor `<stream_type>.<name>`, at most `limit`.
struct PageRequest {
    std::size_t limit = kPageStreamsDefault;
    std::string after;
};

Result<PageRequest> parse_page(const HttpRequest& request) {
    PageRequest page;
    page.after = request.query("after").value_or("");
    if (const auto text = request.query("limit")) {
        const auto* const end = text->data() + text->size();
        const auto parsed = std::from_chars(text->data(), end, page.limit);
        if (parsed.ec != std::errc{} || parsed.ptr != end || page.limit < 1 ||
            page.limit > kPageStreamsMax) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("limit={}: want 1 to {}", *text, kPageStreamsMax));
        }
    }
    return page;
}

/// Streams are listed in this order: by bytes, whatever order the catalogue's database has.
using StreamOrder = std::pair<std::string_view, std::string_view>;
StreamOrder order_of(const StreamInfo& stream) {
    return {stream_type_name(stream.type), stream.name};
}
StreamOrder order_of_cursor(std::string_view cursor) {
    const auto dot = std::min(cursor.find('.'), cursor.size());
    return {cursor.substr(0, dot), cursor.substr(std::min(dot + 1, cursor.size()))};
}

/// The counts of many streams by a few cheap reads. A flush that commits in between may count its
/// rows twice for a moment; `GET /api/v1/streams/{id}` is exact.
Result<std::vector<StreamCounts>> count_streams(const RequestContext& context,
                                                ApiServices& services,
                                                std::span<const StreamInfo> streams) {
    std::vector<HotSnapshot> hot;
    for (const auto& stream : streams) {
        hot.push_back(services.ingester->hot_snapshot(stream.id));
    }
    MS_TRY(const auto shards, services.catalogue->list_live_shards(context));
    std::map<StreamId, Checkpoints> checkpoints;
    for (const auto& shard : shards) {
        checkpoints[shard.stream].emplace_back(shard.id, shard.checkpoint);
    }
    std::vector<StreamCounts> all;
    for (std::size_t i = 0; i < streams.size(); ++i) {
        MS_TRY(const auto totals, services.catalogue->stream_totals(context, streams[i].id));
        auto& counts = all.emplace_back();
        counts.parts = totals.parts;
        counts.rows = totals.rows;
        counts.bytes = totals.bytes;
        counts.raw_bytes = totals.raw_bytes;
        if (totals.parts > 0) {
            counts.time_min_us = totals.time_min_us;
            counts.time_max_us = totals.time_max_us;
        }
        drop_flushed_rows(hot[i], checkpoints[streams[i].id]);
        counts.add_hot(hot[i]);
    }
    return all;
}

Result<HttpResponse> list_streams(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto page, parse_page(call.request));
    MS_TRY(auto streams, services.catalogue->list_streams(call.context, call.principal.org));
    std::ranges::sort(streams, {}, order_of);
    const auto begin = std::ranges::upper_bound(streams, order_of_cursor(page.after), {}, order_of);
    const auto size = std::min<std::size_t>(page.limit, streams.end() - begin);
    const std::span<const StreamInfo> shown(begin, size);
    MS_TRY(const auto counts, count_streams(call.context, services, shown));
    std::string out = "{\"streams\":[";
    for (std::size_t i = 0; i < shown.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_stream(out, services, shown[i], counts[i]);
        out += "}";
    }
    out += "],\"next\":";
    if (begin + static_cast<std::ptrdiff_t>(size) == streams.end()) {
        out += "null";
    } else {
        const auto [type, name] = order_of(shown.back());
        append_json_string(out, fmt::format("{}.{}", type, name));
    }
    return HttpResponse::json(200, out + "}");
}

/// Changes `settings` by the members of the request's body that are settings.
Result<> read_settings(const JsonObject& body,
                       const IngesterConfig& limits,
                       StreamSettings& settings) {
    MS_TRY(const auto days, body.integer("retention_days"));
    if (days.has_value()) {
        if (*days < 0 || *days > kRetentionDaysMax) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format(
                    "'retention_days' is {}, allowed are 0 (for ever) to {}, or null for the "
                    "server's default",
                    *days,
                    kRetentionDaysMax));
        }
        settings.retention_days = static_cast<std::int32_t>(*days);
    } else if (body.is_null("retention_days")) {
        settings.retention_days.reset();
    }
    const auto check_names = [&](std::string_view member, const auto& names) -> Result<> {
        if (std::ssize(names) > limits.fields_per_stream_max) {
            return Error(ErrorCode::kTooLarge,
                         fmt::format("'{}' names {} fields, a stream has at most {} "
                                     "(ingester.fields_per_stream_max)",
                                     member,
                                     names.size(),
                                     limits.fields_per_stream_max));
        }
        for (const auto& name : names) {
            if (name.empty() || std::ssize(name) > limits.field_name_bytes_max) {
                return Error(ErrorCode::kInvalidArgument,
                             fmt::format("a name in '{}' has {} bytes, allowed are 1 to {} "
                                         "(ingester.field_name_bytes_max)",
                                         member,
                                         name.size(),
                                         limits.field_name_bytes_max));
            }
        }
        return {};
    };
    MS_TRY(auto texts, body.texts("full_text_fields"));
    if (texts.has_value()) {
        MS_TRY_VOID(check_names("full_text_fields", *texts));
        settings.full_text_fields = std::move(*texts);
    }
    MS_TRY(const auto pins, body.text_map("pinned_types"));
    if (pins.has_value()) {
        std::vector<std::string> names;
        settings.pinned_types.clear();
        for (const auto& [field, type_name] : *pins) {
            MS_TRY(const auto type, parse_field_type(type_name));
            names.push_back(field);
            settings.pinned_types.emplace_back(field, type);
        }
        MS_TRY_VOID(check_names("pinned_types", names));
    }
    return {};
}

Result<HttpResponse> create_stream(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"name", "stream_type", "retention_days"}));
    MS_TRY(const auto name, body.text("name"));
    if (!name.has_value()) {
        return Error(ErrorCode::kInvalidArgument, "'name' is missing");
    }
    MS_TRY(const auto type_name, body.text("stream_type"));
    MS_TRY(const auto type, parse_stream_type(type_name.value_or("logs")));
    if (type != StreamType::kLogs) {
        return Error(ErrorCode::kInvalidArgument, "this version stores streams of the type 'logs'");
    }
    MS_TRY_VOID(check_stream_name(*name));
    // Everything that can be wrong with the request is, before anything is made.
    StreamSettings settings;
    MS_TRY_VOID(read_settings(body, services.config().ingester, settings));
    MS_TRY(const auto known,
           services.catalogue->find_stream(call.context, call.principal.org, type, *name));
    if (known.has_value()) {
        return Error(
            ErrorCode::kConflict,
            fmt::format("there is a stream '{}' already, with the id {}", *name, known->id.value));
    }
    MS_TRY(auto stream,
           services.ingester->ensure_stream(call.context, call.principal.org, type, *name));
    if (settings.retention_days.has_value()) {
        const auto before = stream.settings;
        stream.settings = std::move(settings);
        MS_TRY_VOID(services.catalogue->update_stream_settings(
            call.context, call.principal.org, stream.id, before, stream.settings));
        services.ingester->refresh_stream(stream.id);
    }
    MS_TRY(const auto text, describe(call.context, services, stream));
    return HttpResponse::json(201, text);
}

Result<HttpResponse> delete_stream(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto stream, find(call, services));
    auto deleted = services.catalogue->delete_stream(call.context, call.principal.org, stream.id);
    if (!deleted) {
        // It may have happened all the same: no later row must go to a stream that is gone.
        services.ingester->refresh_stream(stream.id);
        return std::move(deleted).error();
    }
    MS_TRY_VOID(services.ingester->drop_stream(call.context, stream.id));
    return HttpResponse::json(200, R"({"deleted":true})");
}

Result<HttpResponse> put_settings(ApiCall& call, ApiServices& services) {
    MS_TRY(auto stream, find(call, services));
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"retention_days", "full_text_fields", "pinned_types"}));
    // What the body leaves out stays; if somebody else changes the settings meanwhile: 409.
    const auto before = stream.settings;
    MS_TRY_VOID(read_settings(body, services.config().ingester, stream.settings));
    MS_TRY_VOID(services.catalogue->update_stream_settings(
        call.context, call.principal.org, stream.id, before, stream.settings));
    services.ingester->refresh_stream(stream.id);
    MS_TRY(const auto text, describe(call.context, services, stream));
    return HttpResponse::json(200, text);
}

}  // namespace

void add_stream_routes(RouteTable& routes, ApiServices& services) {
    const auto add = [&](std::string method,
                         std::string path,
                         Permission permission,
                         std::string summary,
                         auto handler) {
        Route route;
        route.request_type = method == "POST" || method == "PUT" ? "application/json" : "";
        route.method = std::move(method);
        route.path = std::move(path);
        route.permission = permission;
        route.summary = std::move(summary);
        route.handler = [handler, &services](ApiCall& call) { return handler(call, services); };
        routes.add(std::move(route));
    };
    Route list;
    list.method = "GET";
    list.path = "/api/v1/streams";
    list.permission = Permission::kQuery;
    list.summary = "Streams by type and name, with row counts, bytes and time bounds";
    list.parameters = {
        {.name = "limit",
         .in = "query",
         .description = fmt::format("at most so many streams, {} if missing, {} at most",
                                    kPageStreamsDefault,
                                    kPageStreamsMax)},
        {.name = "after", .in = "query", .description = "`next` of the page before"}};
    list.handler = [&services](ApiCall& call) { return list_streams(call, services); };
    routes.add(std::move(list));
    add("POST",
        "/api/v1/streams",
        Permission::kAdmin,
        "Creates a stream before its first row",
        create_stream);
    add("GET",
        "/api/v1/streams/{id}",
        Permission::kQuery,
        "One stream with its fields",
        [](ApiCall& call, ApiServices& all) -> Result<HttpResponse> {
            MS_TRY(const auto stream, find(call, all));
            MS_TRY(const auto text, describe(call.context, all, stream));
            return HttpResponse::json(200, text);
        });
    add("DELETE",
        "/api/v1/streams/{id}",
        Permission::kAdmin,
        "Deletes a stream and all its rows",
        delete_stream);
    add("PUT",
        "/api/v1/streams/{id}/settings",
        Permission::kAdmin,
        "Changes retention, full-text fields and pinned types; members left out stay as they are",
        put_settings);
}

}  // namespace molesignal
