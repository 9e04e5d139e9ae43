// POST /api/v1/query and its companions.
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/json_value.h"
#include "common/nearest_name.h"

namespace molesignal {
namespace {

constexpr std::size_t kBodyBytesMax = 256U << 10U;
constexpr std::size_t kFirstBytes = 64U << 10U;
constexpr std::chrono::seconds kReadingGrace{10};

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

Result<SqlTimeRange> parse_time_range(const JsonObject& body, UnixNanos now) {
    SqlTimeRange range;
    MS_TRY(const auto member, body.object("time_range"));
    if (!member.has_value()) {
        return range;
    }
    MS_TRY_VOID(member->allow_only({"start", "end"}));
    MS_TRY(const auto start, member->time("start", now));
    MS_TRY(const auto end, member->time("end", now));
    range.start_us = start.value_or(INT64_MIN);
    range.end_us = end.value_or(INT64_MAX);
    if (range.start_us >= range.end_us) {
        const auto show = [](const std::optional<std::int64_t>& micros, std::string_view missing) {
            return micros.has_value() ? std::to_string(*micros) : std::string(missing);
        };
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'time_range' is empty: start {} is not before end {}",
                                 show(start, "(the beginning)"),
                                 show(end, "(the end of time)")));
    }
    return range;
}

Result<std::optional<std::chrono::milliseconds>> parse_timeout(const JsonObject& body,
                                                               const QueryConfig& config) {
    MS_TRY(const auto timeout, body.integer("timeout_ms"));
    if (!timeout.has_value()) {
        return std::optional<std::chrono::milliseconds>();
    }
    const auto most = config.timeout_secs * 1000;
    if (*timeout < 1 || *timeout > most) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format(
                "'timeout_ms' is {}, allowed are 1 to {} (query.timeout_secs)", *timeout, most));
    }
    return std::optional(std::chrono::milliseconds(*timeout));
}

/// `stream`: a name, or `{"name", "stream_type"}`. The stream must exist; a table of that name
/// without a schema is this one. (Logs are the only type that is stored, and the one that a name
/// without a schema means first.)
Result<> check_stream(const JsonObject& body, ApiCall& call, ApiServices& services) {
    std::string name;
    auto type = StreamType::kLogs;
    if (body.is_text("stream")) {
        MS_TRY(const auto text, body.text("stream"));
        name = *text;
    } else {
        const auto object = body.object("stream");
        if (!object) {
            return Error(ErrorCode::kInvalidArgument,
                         "'stream' must be a name, or an object with 'name' and 'stream_type'");
        }
        const auto& member = *object;
        if (!member.has_value()) {
            return {};
        }
        MS_TRY_VOID(member->allow_only({"name", "stream_type"}));
        MS_TRY(const auto member_name, member->text("name"));
        MS_TRY(const auto type_name, member->text("stream_type"));
        if (!member_name.has_value()) {
            return Error(ErrorCode::kInvalidArgument, "'stream.name' is missing");
        }
        name = *member_name;
        MS_TRY(type, parse_stream_type(type_name.value_or("logs")));
    }
    MS_TRY(const auto found,
           services.catalogue->find_stream(call.context, call.principal.org, type, name));
    if (found.has_value()) {
        return {};
    }
    const auto full_name = [](StreamType stream_type, std::string_view stream) {
        return fmt::format("{}.{}", stream_type_name(stream_type), stream);
    };
    MS_TRY(const auto streams, services.catalogue->list_streams(call.context, call.principal.org));
    std::vector<std::string> names;
    for (const auto& stream : streams) {
        names.push_back(full_name(stream.type, stream.name));
    }
    const auto wanted = full_name(type, name);
    const auto nearest = nearest_name(wanted, {names.begin(), names.end()});
    return Error(
        ErrorCode::kNotFound,
        fmt::format("'stream': no stream is called '{}'{}",
                    wanted,
                    nearest.has_value() ? fmt::format("; did you mean '{}'?", *nearest) : ""));
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
    MS_TRY(query.time_range, parse_time_range(body, services.clock.now()));
    MS_TRY(query.limit, body.integer("limit"));
    if (query.limit.has_value() && *query.limit < 0) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'limit' is {}, at least 0 is wanted", *query.limit));
    }
    const auto& config = services.config().query;
    MS_TRY(query.timeout, parse_timeout(body, config));
    query.limits = SqlLimits{.rows_max = config.rows_max,
                             .bytes_max = config.bytes_max,
                             .timeout = std::chrono::seconds(config.timeout_secs)};
    MS_TRY_VOID(check_stream(body, call, services));
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

/// The answer to a query, piece by piece. JSON has its rows first and stats after them.
class QueryAnswer {
public:
    QueryAnswer(std::unique_ptr<SqlResult> result, SqlFormat format)
        : result_(std::move(result)), format_(format) {}

    /// As HttpBodyStream.
    Result<bool> next(std::string& out) {
        const bool json = format_ == SqlFormat::kJsonRows;
        if (json && !began_) {
            out += "{\"columns\":";
            append_texts(out, result_->columns());
            out += ",\"column_types\":";
            append_texts(out, result_->column_types());
            out += ",\"rows\":[";
        }
        began_ = true;
        MS_TRY(const bool more, result_->next(format_, out));
        if (json && !more) {
            append_end(out);
        }
        return more;
    }

private:
    void append_end(std::string& out) const {
        const auto stats = result_->stats();
        out += fmt::format(
            R"(],"stats":{{"took_ms":{},"scanned_rows":{},"scanned_bytes":{},"parts_total":{},"parts_skipped":{},)"
            R"("row_groups_total":{},"row_groups_skipped":{},"index_parts":{},"index_rows":{},"index_filters":{},"object_gets":{},"hot_rows":{}}},"partial":{},"warnings":)",
            stats.took_ms,
            stats.scanned_rows,
            stats.scanned_bytes,
            stats.parts_total,
            stats.parts_skipped,
            stats.row_groups_total,
            stats.row_groups_skipped,
            stats.index_parts,
            stats.index_rows,
            stats.index_filters,
            stats.object_gets,
            stats.hot_rows,
            result_->partial());
        append_texts(out, result_->warnings());
        out += "}";
    }

    std::unique_ptr<SqlResult> result_;
    SqlFormat format_;
    bool began_ = false;
};

Result<HttpResponse> run_query(ApiCall& call, ApiServices& services) {
    MS_TRY(auto query, parse_query(call, services));
    const auto media = wanted_media(call.request);
    const std::chrono::seconds longest(services.config().query.timeout_secs);
    const auto timeout = query.timeout.value_or(longest);
    HttpResponse response;
    response.set_header("X-Query-Id", query.id);
    response.set_header(
        "Content-Type",
        std::string(media.type) + (media.format == SqlFormat::kCsv ? "; charset=utf-8" : ""));
    MS_TRY(auto result, services.sql->run(call.context, std::move(query)));
    // Shared, because a std::function must be copyable; only one copy is ever called.
    const auto answer = std::make_shared<QueryAnswer>(std::move(result), media.format);
    // What goes wrong at the beginning is an error with its status; only what goes wrong later cuts
    // the answer. A small answer is sent whole.
    std::string first;
    bool more = true;
    while (more && first.size() < kFirstBytes) {
        MS_TRY(more, answer->next(first));
    }
    if (!more) {
        response.body = std::move(first);
        return response;
    }
    // A slow reader may not hold the query for longer than a slow query could.
    response.write_by = services.clock.steady_now() + timeout + kReadingGrace;
    response.stream = [answer,
                       first = std::move(first)](std::string& chunk) mutable -> Result<bool> {
        if (!first.empty()) {
            chunk = std::exchange(first, {});
            return true;
        }
        return answer->next(chunk);
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
    run.lane = Lane::kQuery;
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
    running.lane = Lane::kLight;
    running.summary = "The organisation's running queries";
    running.handler = [&services](ApiCall& call) { return list_running(call, services); };
    routes.add(std::move(running));

    Route cancel;
    cancel.method = "POST";
    cancel.path = "/api/v1/query/{id}/cancel";
    cancel.permission = Permission::kQuery;
    cancel.lane = Lane::kLight;
    cancel.summary = "Cancels a running query";
    cancel.handler = [&services](ApiCall& call) -> Result<HttpResponse> {
        MS_TRY_VOID(services.queries->cancel(call.principal.org.value, call.path_parameter("id")));
        return HttpResponse::json(200, R"({"cancelled":true})");
    };
    routes.add(std::move(cancel));
}

}  // namespace molesignal
