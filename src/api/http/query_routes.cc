// POST /api/v1/query and its companions.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/http/http_api.h"
#include "api/http/query_request.h"
#include "api/http/search_request.h"
#include "api/json_value.h"

namespace molesignal {
namespace {

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

constexpr std::string_view kLanguages[] = {"sql", "search"};

/// The statement of a request in SQL. A search in a form other than JSON is sent as it is made, and
/// has no cursor behind it.
Result<SqlQuery> parse_query(const JsonObject& body,
                             std::string_view language,
                             ApiCall& call,
                             ApiServices& services) {
    if (language == "search") {
        return parse_search_page(body, call, services);
    }
    if (body.has("cursor")) {
        return Error(ErrorCode::kInvalidArgument, "'cursor' is for the language 'search'");
    }
    MS_TRY(auto statement, body.text("statement"));
    if (!statement.has_value()) {
        return Error(ErrorCode::kInvalidArgument, "'statement' is missing");
    }
    MS_TRY(auto query, parse_query_members(body, call, services));
    query.statement = std::move(*statement);
    MS_TRY(query.limit, body.integer("limit"));
    if (query.limit.has_value() && *query.limit < 0) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'limit' is {}, at least 0 is wanted", *query.limit));
    }
    MS_TRY_VOID(find_stream_member(body, call, services));
    return query;
}

/// The answer to a query, piece by piece. JSON has its rows first and stats after them. The other
/// forms cannot say that rows are missing: such an answer ends with an error.
class QueryAnswer {
public:
    QueryAnswer(std::unique_ptr<SqlResult> result, SqlFormat format)
        : result_(std::move(result)), format_(format) {}

    /// As HttpBodyStream.
    Result<bool> next(std::string& out) {
        const bool json = format_ == SqlFormat::kJsonRows;
        if (json && !began_) {
            out += "{\"columns\":";
            append_json_texts(out, result_->columns());
            out += ",\"column_types\":";
            append_json_texts(out, result_->column_types());
            out += ",\"rows\":[";
        }
        began_ = true;
        MS_TRY(const bool more, result_->next(format_, out));
        if (!more && !json && result_->partial()) {
            return Error(ErrorCode::kLimitReached,
                         fmt::format("{}; only a JSON answer can say so: set 'limit', or ask for "
                                     "JSON",
                                     fmt::join(result_->warnings(), "; ")));
        }
        if (json && !more) {
            append_end(out);
        }
        return more;
    }

private:
    void append_end(std::string& out) const {
        out += "],";
        append_query_end(out, result_->stats(), result_->partial(), result_->warnings());
        out += "}";
    }

    std::unique_ptr<SqlResult> result_;
    SqlFormat format_;
    bool began_ = false;
};

Result<HttpResponse> run_query(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kQueryBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"language",
                                 "statement",
                                 "time_range",
                                 "stream",
                                 "limit",
                                 "cursor",
                                 "timeout_ms",
                                 "query_id"}));
    MS_TRY(const auto named, body.text("language"));
    const auto language = named.value_or("sql");
    if (std::ranges::find(kLanguages, language) == std::end(kLanguages)) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("language '{}': this version speaks '{}'",
                                 language,
                                 fmt::join(kLanguages, "', '")));
    }
    const auto media = wanted_media(call.request);
    if (language == "search" && media.format == SqlFormat::kJsonRows) {
        return run_search_page(body, call, services);
    }
    MS_TRY(auto query, parse_query(body, language, call, services));
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
    run.summary =
        "Runs a query in SQL or the search language; Accept chooses JSON, NDJSON, CSV or an Arrow "
        "stream";
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
