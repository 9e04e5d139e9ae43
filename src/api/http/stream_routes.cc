// /api/v1/streams: what there is, with counts; settings; deletion.
#include <algorithm>

#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/json_value.h"

namespace molesignal {
namespace {

constexpr std::size_t kBodyBytesMax = 1 << 20;
constexpr std::int64_t kRetentionDaysMax = 36'500;

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

/// The stream with its counts: parts from the catalogue, hot rows not flushed yet from the
/// ingester.
Result<std::string> describe(const RequestContext& context,
                             ApiServices& services,
                             const StreamInfo& stream,
                             bool fields) {
    auto hot = services.ingester->hot_snapshot(stream.id);
    std::int64_t parts_total = 0;
    MS_TRY(const auto snapshot,
           services.catalogue->snapshot(context, stream.id, INT64_MIN, INT64_MAX, parts_total));
    std::vector<std::pair<ShardId, Position>> checkpoints;
    for (const auto& shard : snapshot.shards) {
        checkpoints.emplace_back(shard.id, shard.checkpoint);
    }
    drop_flushed_rows(hot, checkpoints);
    std::int64_t rows = 0;
    std::int64_t bytes = 0;
    std::int64_t raw_bytes = 0;
    std::int64_t time_min = INT64_MAX;
    std::int64_t time_max = INT64_MIN;
    for (const auto& part : snapshot.parts) {
        rows += part.rows;
        raw_bytes += part.raw_bytes;
        for (const auto& object : part.objects) {
            bytes += object.bytes;
        }
        time_min = std::min(time_min, part.time_min_us);
        time_max = std::max(time_max, part.time_max_us);
    }
    for (const auto& chunk : hot.chunks) {
        time_min = std::min(time_min, chunk.time_min_ns / 1000);
        time_max = std::max(time_max, (chunk.time_max_ns + 999) / 1000);
    }
    const auto hot_rows = static_cast<std::int64_t>(hot.rows());
    const bool any = rows + hot_rows > 0;
    std::string out = "{\"id\":";
    append_json_string(out, stream.id.value);
    out += ",\"name\":";
    append_json_string(out, stream.name);
    out += fmt::format(
        R"(,"stream_type":"{}","created_at_micros":{},"rows":{},"hot_rows":{},"parts":{},"bytes":{},)"
        R"("raw_bytes":{},"time_min":{},"time_max":{},"settings":)",
        stream_type_name(stream.type),
        stream.created_us,
        rows + hot_rows,
        hot_rows,
        parts_total,
        bytes,
        raw_bytes,
        any ? std::to_string(time_min) : "null",
        any ? std::to_string(time_max) : "null");
    append_settings(out, stream.settings);
    const auto days = stream.settings.retention_days.value_or(
        static_cast<std::int32_t>(services.config.compactor.retention_days));
    out += fmt::format(R"(,"effective_retention":{{"days":{}}})", days);
    if (fields) {
        auto schema = snapshot.schema;
        add_hot_fields(schema, hot);
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
                out += fmt::format(
                    "{}\"{}\"", i == 0 ? "" : ",", field_type_name(field.variants[i].type));
            }
            out += "]}";
        }
        out += "]";
    }
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

Result<HttpResponse> list_streams(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto streams, services.catalogue->list_streams(call.context, call.principal.org));
    std::string out = "{\"streams\":[";
    for (std::size_t i = 0; i < streams.size(); ++i) {
        out += i == 0 ? "" : ",";
        auto text = describe(call.context, services, streams[i], false);
        if (!text && text.error().code() == ErrorCode::kNotFound) {
            continue;  // Deleted in between.
        }
        MS_TRY(const auto body, std::move(text));
        out += body;
    }
    return HttpResponse::json(200, out + "]}");
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
    MS_TRY(const auto known,
           services.catalogue->find_stream(call.context, call.principal.org, type, *name));
    if (known.has_value()) {
        return Error(
            ErrorCode::kConflict,
            fmt::format("there is a stream '{}' already, with the id {}", *name, known->id.value));
    }
    MS_TRY(auto stream,
           services.ingester->ensure_stream(call.context, call.principal.org, type, *name));
    MS_TRY(const auto days, body.integer("retention_days"));
    if (days.has_value()) {
        if (*days < 0 || *days > kRetentionDaysMax) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("'retention_days' is {}, allowed are 0 (for ever) to {}",
                                     *days,
                                     kRetentionDaysMax));
        }
        const auto before = stream.settings;
        stream.settings.retention_days = static_cast<std::int32_t>(*days);
        MS_TRY_VOID(services.catalogue->update_stream_settings(
            call.context, call.principal.org, stream.id, before, stream.settings));
        services.ingester->refresh_stream(stream.id);
    }
    MS_TRY(const auto text, describe(call.context, services, stream, true));
    return HttpResponse::json(201, text);
}

Result<HttpResponse> delete_stream(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto stream, find(call, services));
    MS_TRY_VOID(services.catalogue->delete_stream(call.context, call.principal.org, stream.id));
    MS_TRY_VOID(services.ingester->drop_stream(call.context, stream.id));
    return HttpResponse::json(200, R"({"deleted":true})");
}

Result<HttpResponse> put_settings(ApiCall& call, ApiServices& services) {
    MS_TRY(auto stream, find(call, services));
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"retention_days", "full_text_fields", "pinned_types"}));
    // What the body leaves out stays; if somebody else changes the settings meanwhile: 409.
    const auto before = stream.settings;
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
        stream.settings.retention_days = static_cast<std::int32_t>(*days);
    } else if (body.is_null("retention_days")) {
        stream.settings.retention_days.reset();
    }
    MS_TRY(auto texts, body.texts("full_text_fields"));
    if (texts.has_value()) {
        stream.settings.full_text_fields = std::move(*texts);
    }
    MS_TRY(const auto pins, body.text_map("pinned_types"));
    if (pins.has_value()) {
        stream.settings.pinned_types.clear();
        for (const auto& [field, type_name] : *pins) {
            MS_TRY(const auto type, parse_field_type(type_name));
            stream.settings.pinned_types.emplace_back(field, type);
        }
    }
    MS_TRY_VOID(services.catalogue->update_stream_settings(
        call.context, call.principal.org, stream.id, before, stream.settings));
    services.ingester->refresh_stream(stream.id);
    MS_TRY(const auto text, describe(call.context, services, stream, true));
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
    add("GET",
        "/api/v1/streams",
        Permission::kQuery,
        "All streams with row counts, bytes and time bounds",
        list_streams);
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
            MS_TRY(const auto text, describe(call.context, all, stream, true));
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
