#include "api/http/http_api.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/error_form.h"
#include "common/log.h"

namespace molesignal {
namespace {

/// Handlers that take longer than the request's own deadline are bounded by this.
constexpr std::chrono::seconds kHandlerDeadline{120};

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

}  // namespace

HttpApi::HttpApi(ApiServices& services) : services_(services) {
    add_system_routes(routes_, services);
    add_ingest_routes(routes_, services);
    add_otlp_routes(routes_, services);
    add_query_routes(routes_, services);
    add_stream_routes(routes_, services);
    add_token_routes(routes_, services);
    // The document describes the finished table, so its route comes last.
    Route document;
    document.method = "GET";
    document.path = "/api/v1/openapi.json";
    document.permission = Permission::kPublic;
    document.summary = "This document";
    document.handler = [this](ApiCall&) -> Result<HttpResponse> {
        return HttpResponse::json(200, routes_.openapi_json(services_.version));
    };
    routes_.add(std::move(document));
}

HttpApi::~HttpApi() = default;

HttpResponse HttpApi::handle(const RequestContext& context, HttpRequest&& request) {
    auto match = routes_.find(request.method, request.path);
    if (match.route == nullptr) {
        if (!match.allowed_methods.empty()) {
            auto response = HttpResponse::error(
                405,
                "method_not_allowed",
                fmt::format("{} takes {}", request.path, fmt::join(match.allowed_methods, ", ")),
                request.request_id);
            response.set_header("Allow", fmt::format("{}", fmt::join(match.allowed_methods, ", ")));
            response.route = "unknown";
            return response;
        }
        auto response = HttpResponse::error(404,
                                            "not_found",
                                            fmt::format("no such path; see /api/v1/openapi.json"),
                                            request.request_id);
        response.route = "unknown";
        return response;
    }
    const auto& route = *match.route;
    const auto fail = [&](const Error& error) {
        auto response = error_response(error_for_client(error, route.path, request.request_id),
                                       request.request_id);
        response.route = route.path;
        return response;
    };
    Principal principal;
    auto inner = context;
    inner.deadline = services_.clock.steady_now() + kHandlerDeadline;
    if (route.permission != Permission::kPublic) {
        if (!services_.started.load(std::memory_order_acquire)) {
            return fail(Error(ErrorCode::kUnavailable, "the server is starting; see /readyz"));
        }
        auto verified = services_.authenticator->authenticate(
            inner, request.header("Authorization"), organization_headers(request));
        if (!verified) {
            return fail(verified.error());
        }
        principal = std::move(*verified);
        if (!principal.may(route.permission)) {
            return fail(Error(ErrorCode::kForbidden,
                              fmt::format("this credential lacks the permission '{}'",
                                          permission_name(route.permission))));
        }
        inner.org_id = principal.org.value;
    }
    ApiCall call{.context = inner,
                 .request = request,
                 .principal = principal,
                 .path_parameters = std::move(match.path_parameters)};
    auto result = route.handler(call);
    if (!result) {
        return fail(result.error());
    }
    result->route = route.path;
    return std::move(*result);
}

void HttpApi::record(const HttpAccessRecord& access) {
    // Route and status class are closed sets: outside text never becomes a label.
    const MetricLabels labels = {
        {"route", access.route.empty() ? "engine" : std::string(access.route)},
        {"status", fmt::format("{}xx", access.status / 100)}};
    services_.metrics
        .counter("http_requests_total", "Answered HTTP requests, by route and status class", labels)
        .add();
    services_.metrics
        .histogram("http_request_duration_seconds",
                   "Time from a request's complete head to the last byte of its answer",
                   MetricRegistry::latency_buckets(),
                   {{"route", labels.at("route")}})
        .observe(static_cast<double>(access.duration.count()) * 1e-9);
    log_debug("http",
              {{"method", access.method},
               {"path", access.path},
               {"status", access.status},
               {"request_id", access.request_id},
               {"duration_us", access.duration.count() / 1000}});
}

}  // namespace molesignal
