#include "api/http/http_api.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/error_form.h"
#include "api/http/browser_guard.h"
#include "common/assert.h"
#include "common/log.h"

namespace molesignal {
namespace {

/// The label of requests that no route fits.
constexpr std::string_view kUnknownRoute = "unknown";
constexpr std::chrono::seconds kHandlerDeadline{120};
/// A flush that is due comes within five minutes.
constexpr std::chrono::seconds kCommitDeadline{600};

/// All values of the headers that choose an organisation.
std::vector<std::string> organization_headers(const HttpRequest& request) {
    std::vector<std::string> values;
    for (const auto& header : request.headers) {
        if (equal_ignoring_case(header.name, "X-Org-Id") ||
            equal_ignoring_case(header.name, "X-Scope-OrgID")) {
            values.push_back(header.value);
        }
    }
    return values;
}

RouteTable make_routes(ApiServices& services) {
    RouteTable routes;
    add_system_routes(routes, services);
    add_ingest_routes(routes, services);
    add_otlp_routes(routes, services);
    add_query_routes(routes, services);
    add_search_routes(routes, services);
    add_stream_routes(routes, services);
    add_token_routes(routes, services);
    // The document describes the finished table, so its route comes last.
    Route document;
    document.method = "GET";
    document.path = "/api/v1/openapi.json";
    document.permission = Permission::kPublic;
    document.lane = Lane::kLight;
    document.summary = "This document";
    auto text = std::make_shared<std::string>();
    document.handler = [text](ApiCall&) -> Result<HttpResponse> {
        return HttpResponse::json(200, *text);
    };
    routes.add(std::move(document));
    *text = routes.openapi_json(services.version);
    return routes;
}

std::vector<std::string> labels_of(const RouteTable& routes) {
    std::vector<std::string> labels = {std::string(kUnknownRoute)};
    for (const auto& route : routes.routes()) {
        labels.push_back(route.path);
    }
    return labels;
}

HttpAdmission answer_with(HttpResponse response) {
    HttpAdmission admission;
    admission.verdict = HttpAdmission::Verdict::kAnswer;
    admission.answer = std::move(response);
    return admission;
}

HttpAdmission unknown_route(const HttpRequest& head, const RouteTable::Match& match) {
    auto response =
        match.allowed_methods.empty()
            ? HttpResponse::error(
                  404, "not_found", "no such path; see /api/v1/openapi.json", head.request_id)
            : HttpResponse::error(
                  405,
                  "method_not_allowed",
                  fmt::format("{} takes {}", head.path, fmt::join(match.allowed_methods, ", ")),
                  head.request_id);
    if (!match.allowed_methods.empty()) {
        response.set_header("Allow", fmt::format("{}", fmt::join(match.allowed_methods, ", ")));
    }
    response.route = kUnknownRoute;
    return answer_with(std::move(response));
}

}  // namespace

/// What the head of a request told.
struct HttpApi::Ticket final : HttpTicket {
    const Route* route = nullptr;
    PathParameters path_parameters;
    Principal principal;
    Lane lane = Lane::kAdmin;
};

HttpApi::HttpApi(ApiServices& services)
    : services_(services),
      routes_(make_routes(services)),
      metrics_(services.metrics, labels_of(routes_)) {}

HttpApi::~HttpApi() = default;

HttpHooks HttpApi::hooks() {
    return {.admit = [this](const RequestContext& context,
                            const HttpRequest& head,
                            HttpMayBlock may_block) { return admit(context, head, may_block); },
            .on_answer = [this](const HttpAccessRecord& access) { record(access); }};
}

HttpResponse HttpApi::failure(const Error& error,
                              const Route& route,
                              std::string_view request_id) const {
    auto response = error_response(error_for_client(error, route.path, request_id), request_id);
    response.route = route.path;
    return response;
}

HttpAdmission HttpApi::admit(const RequestContext& context,
                             const HttpRequest& head,
                             HttpMayBlock may_block) {
    auto match = routes_.find(head.method, head.path);
    if (match.route == nullptr) {
        return unknown_route(head, match);
    }
    const auto& route = *match.route;
    auto admission = admit_route(context, head, may_block, std::move(match));
    return admission ? *std::move(admission)
                     : answer_with(failure(admission.error(), route, head.request_id));
}

Result<HttpAdmission> HttpApi::admit_route(const RequestContext& context,
                                           const HttpRequest& head,
                                           HttpMayBlock may_block,
                                           RouteTable::Match match) {
    const auto& route = *match.route;
    if (services_.config().auth.mode == AuthMode::kNone) {
        MS_TRY_VOID(check_not_from_foreign_page(head));
    }
    auto ticket = std::make_shared<Ticket>();
    ticket->route = &route;
    ticket->path_parameters = std::move(match.path_parameters);
    ticket->lane = route.lane_of ? route.lane_of(head) : route.lane;
    if (route.permission != Permission::kPublic) {
        if (!services_.started.load(std::memory_order_acquire)) {
            return Error(ErrorCode::kUnavailable, "the server is starting; see /readyz");
        }
        const auto authorization = head.header("Authorization");
        const auto organizations = organization_headers(head);
        auto verified = services_.authenticator->recall(authorization, organizations);
        if (!verified.has_value()) {
            if (may_block == HttpMayBlock::kNo) {
                HttpAdmission later;
                later.verdict = HttpAdmission::Verdict::kAskAgain;
                later.lane = static_cast<std::size_t>(Lane::kSignIn);
                return later;
            }
            verified = services_.authenticator->authenticate(
                inner_context(context, *ticket), authorization, organizations);
        }
        MS_TRY(ticket->principal, *std::move(verified));
        if (!ticket->principal.may(route.permission)) {
            return Error(ErrorCode::kForbidden,
                         fmt::format("this credential lacks the permission '{}'",
                                     permission_name(route.permission)));
        }
    }
    MS_TRY_VOID(check_query_parameters(route, head));
    if (route.is_probe) {
        auto request = head;
        return answer_with(call(context, request, *ticket));
    }
    HttpAdmission admission;
    admission.lane = static_cast<std::size_t>(ticket->lane);
    admission.ticket = std::move(ticket);
    return admission;
}

RequestContext HttpApi::inner_context(const RequestContext& context, const Ticket& ticket) const {
    auto inner = context;
    const std::chrono::seconds query_timeout(services_.config().query.timeout_secs);
    const auto time = ticket.lane == Lane::kQuery    ? query_timeout
                      : ticket.lane == Lane::kCommit ? kCommitDeadline
                                                     : kHandlerDeadline;
    inner.deadline = services_.clock.steady_now() + time;
    inner.org_id = ticket.principal.org.value;
    if (services_.memory != nullptr) {
        inner.memory = services_.memory->make_child(
            "request", "memory.limit_mb", services_.memory->limit_bytes());
    }
    return inner;
}

HttpResponse HttpApi::call(const RequestContext& context,
                           HttpRequest& request,
                           const Ticket& ticket) {
    const auto& route = *ticket.route;
    ApiCall call{.context = context,
                 .request = request,
                 .principal = ticket.principal,
                 .path_parameters = ticket.path_parameters};
    auto result = route.handler(call);
    if (!result) {
        return failure(result.error(), route, request.request_id);
    }
    result->route = route.path;
    watch_stream(*result, route, context);
    return *std::move(result);
}

void HttpApi::watch_stream(HttpResponse& response,
                           const Route& route,
                           const RequestContext& context) {
    if (!response.stream) {
        return;
    }
    response.stream = [this, stream = std::move(response.stream), path = route.path, context](
                          std::string& chunk) -> Result<bool> {
        auto more = stream(chunk);
        if (!more && !context.cancel.cancelled()) {
            services_.metrics
                .counter("http_broken_answers_total",
                         "Answers that an error ended after they had begun",
                         {{"route", path}})
                .add();
            log_warn("an answer broke off",
                     {{"route", path},
                      {"request_id", context.request_id},
                      {"error", more.error().message()}});
        }
        return more;
    };
}

HttpResponse HttpApi::handle(const RequestContext& context, HttpRequest&& request) {
    MS_ASSERT(request.ticket != nullptr);
    const auto ticket = std::static_pointer_cast<const Ticket>(request.ticket);
    return call(inner_context(context, *ticket), request, *ticket);
}

void HttpApi::record(const HttpAccessRecord& access) {
    metrics_.count(access);
    const auto level = services_.config().telemetry.access_log ? LogLevel::kInfo : LogLevel::kDebug;
    if (!log_enabled(level)) {
        return;
    }
    log(level,
        "http",
        {{"method", access.method},
         {"path", access.path},
         {"status", access.status},
         {"complete", access.complete ? "yes" : "no"},
         {"request_id", access.request_id},
         {"remote", access.remote_address},
         {"request_bytes", access.request_body_wire_bytes},
         {"response_bytes", access.response_body_wire_bytes},
         {"duration_us", access.duration.count() / 1000}});
}

}  // namespace molesignal
