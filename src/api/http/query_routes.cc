// POST /api/v1/query and its companions.
#include <memory>

#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/json_value.h"

namespace molesignal {
namespace {

constexpr std::size_t kBodyBytesMax = 256U << 10U;
constexpr std::int64_t kTimeoutMsMax = 3'600'000;

struct Media {
    SqlFormat format;
    std::string_view type;
};
constexpr Media kJson{SqlFormat::kJsonRows, "application/json"};
constexpr Media kMedia[] = {{SqlFormat::kNdjson, "application/x-ndjson"},
                            {SqlFormat::kCsv, "text/csv"},
                            {SqlFormat::kArrow, "application/vnd.apache.arrow.stream"}};

Media wanted_media(const HttpRequest& request) {
    const auto accept = request.header("Accept").value_or("");
    for (const auto& media : kMedia) {
        if (accept.find(media.type) != std::string_view::npos) {
            return media;
        }
    }
    return kJson;
}

Result<SqlQuery> parse_query(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kBodyBytesMax));
    MS_TRY_VOID(body.allow_only(
        {"language", "statement", "time_range", "stream", "limit", "timeout_ms", "query_id"}));
    MS_TRY(const auto language, body.text("language"));
    if (language.value_or("sql") != "sql") {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("language '{}': this version speaks 'sql'", *language));
    }
    MS_TRY(auto statement, body.text("statement"));
    if (!statement.has_value()) {
        return Error(ErrorCode::kInvalidArgument, "'statement' is missing");
    }
    SqlQuery query;
    query.org = call.principal.org;
    query.statement = std::move(*statement);
    MS_TRY(auto id, body.text("query_id"));
    constexpr std::size_t kIdBytesMax = 128;
    if (id.has_value() && (id->empty() || id->size() > kIdBytesMax)) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'query_id' has 1 to {} bytes", kIdBytesMax));
    }
    query.id = id.has_value() ? std::move(*id) : make_ulid(services.clock.now(), services.random);
    MS_TRY(const auto range, body.object("time_range"));
    if (range.has_value()) {
        MS_TRY_VOID(range->allow_only({"start", "end"}));
        MS_TRY(const auto start, range->integer("start"));
        MS_TRY(const auto end, range->integer("end"));
        query.time_range.start_us = start.value_or(INT64_MIN);
        query.time_range.end_us = end.value_or(INT64_MAX);
        if (query.time_range.start_us >= query.time_range.end_us) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format("'time_range' is empty: start {} is not before end {}", *start, *end));
        }
    }
    MS_TRY(query.limit, body.integer("limit"));
    if (query.limit.has_value() && *query.limit < 0) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'limit' is {}, at least 0 is wanted", *query.limit));
    }
    MS_TRY(const auto timeout, body.integer("timeout_ms"));
    if (timeout.has_value()) {
        if (*timeout < 1 || *timeout > kTimeoutMsMax) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format("'timeout_ms' is {}, allowed are 1 to {}", *timeout, kTimeoutMsMax));
        }
        query.timeout = std::chrono::milliseconds(*timeout);
    }
    return query;
}

void append_texts(std::string& out, const std::vector<std::string>& texts) {
    out.push_back('[');
    for (std::size_t i = 0; i < texts.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, texts[i]);
    }
    out.push_back(']');
}

/// The JSON answer: rows first as they come, stats after them.
Result<HttpResponse> json_answer(std::unique_ptr<SqlResult> result) {
    std::string out = "{\"columns\":";
    append_texts(out, result->columns());
    out += ",\"column_types\":";
    append_texts(out, result->column_types());
    out += ",\"rows\":[";
    while (true) {
        MS_TRY(const auto more, result->next(SqlFormat::kJsonRows, out));
        if (!more) {
            break;
        }
    }
    const auto stats = result->stats();
    out += fmt::format(
        R"(],"stats":{{"took_ms":{},"scanned_rows":{},"scanned_bytes":{},"parts_total":{},"parts_skipped":{},)"
        R"("row_groups_total":{},"row_groups_skipped":{},"object_gets":{},"hot_rows":{}}},"partial":{},"warnings":)",
        stats.took_ms,
        stats.scanned_rows,
        stats.scanned_bytes,
        stats.parts_total,
        stats.parts_skipped,
        stats.row_groups_total,
        stats.row_groups_skipped,
        stats.object_gets,
        stats.hot_rows,
        result->partial());
    append_texts(out, result->warnings());
    return HttpResponse::json(200, out + "}");
}

Result<HttpResponse> run_query(ApiCall& call, ApiServices& services) {
    MS_TRY(auto query, parse_query(call, services));
    const auto media = wanted_media(call.request);
    const auto id = query.id;
    MS_TRY(auto result, services.sql->run(call.context, std::move(query)));
    if (media.format == SqlFormat::kJsonRows) {
        MS_TRY(auto response, json_answer(std::move(result)));
        response.set_header("X-Query-Id", id);
        return response;
    }
    HttpResponse response;
    response.set_header(
        "Content-Type",
        std::string(media.type) + (media.format == SqlFormat::kCsv ? "; charset=utf-8" : ""));
    response.set_header("X-Query-Id", id);
    // Shared, because a std::function must be copyable; only one copy is ever called.
    const std::shared_ptr<SqlResult> rows(std::move(result));
    response.stream = [rows, format = media.format](std::string& chunk) {
        return rows->next(format, chunk);
    };
    return response;
}

Result<HttpResponse> list_running(ApiCall& call, ApiServices& services) {
    std::string out = "{\"queries\":[";
    bool first = true;
    for (const auto& query : services.queries->list(call.principal.org.value)) {
        out += first ? "{\"id\":" : ",{\"id\":";
        first = false;
        append_json_string(out, query.id);
        out += ",\"statement\":";
        append_json_string(out, query.statement);
        out += fmt::format(R"(,"started_at_micros":{},"running_ms":{}}})",
                           query.started.value / 1000,
                           (services.clock.now().value - query.started.value) / 1'000'000);
    }
    return HttpResponse::json(200, out + "]}");
}

}  // namespace

void add_query_routes(RouteTable& routes, ApiServices& services) {
    Route run;
    run.method = "POST";
    run.path = "/api/v1/query";
    run.permission = Permission::kQuery;
    run.summary = "Runs a SQL query; Accept chooses JSON, NDJSON, CSV or an Arrow stream";
    run.request_type = "application/json";
    run.parameters = {{.name = "Accept",
                       .in = "header",
                       .description = "application/json, application/x-ndjson, text/csv or "
                                      "application/vnd.apache.arrow.stream"}};
    run.handler = [&services](ApiCall& call) { return run_query(call, services); };
    routes.add(std::move(run));

    Route running;
    running.method = "GET";
    running.path = "/api/v1/query/running";
    running.permission = Permission::kQuery;
    running.summary = "The organisation's running queries";
    running.handler = [&services](ApiCall& call) { return list_running(call, services); };
    routes.add(std::move(running));

    Route cancel;
    cancel.method = "POST";
    cancel.path = "/api/v1/query/{id}/cancel";
    cancel.permission = Permission::kQuery;
    cancel.summary = "Cancels a running query";
    cancel.handler = [&services](ApiCall& call) -> Result<HttpResponse> {
        MS_TRY_VOID(services.queries->cancel(call.principal.org.value, call.path_parameter("id")));
        return HttpResponse::json(200, R"({"cancelled":true})");
    };
    routes.add(std::move(cancel));
}

}  // namespace molesignal
