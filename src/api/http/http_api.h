#pragma once

#include <atomic>
#include <memory>

#include "api/http/http_metrics.h"
#include "api/http/route_table.h"
#include "api/services.h"
#include "common/metrics.h"
#include "net/http.h"
#include "net/http_server.h"

namespace molesignal {

/// The HTTP API: from the head of a request finds the route, authenticates, checks permission and
/// parameters; with the body calls the handler. Thread-safe.
class HttpApi {
public:
    explicit HttpApi(ApiServices& services);
    ~HttpApi();
    HttpApi(const HttpApi&) = delete;
    HttpApi& operator=(const HttpApi&) = delete;

    /// HttpHooks::admit. Probes are answered here.
    HttpAdmission admit(const RequestContext& context,
                        const HttpRequest& head,
                        HttpMayBlock may_block);
    /// The server's handler, for requests that `admit` let through.
    HttpResponse handle(const RequestContext& context, HttpRequest&& request);
    /// HttpHooks::on_answer: counts and logs.
    void record(const HttpAccessRecord& access);
    /// Shows the server's state among the metrics; called from time to time.
    void export_stats(const HttpServerStats& stats) { metrics_.export_stats(stats); }

    /// All of it, for HttpServer::start.
    HttpHooks hooks();
    const RouteTable& routes() const { return routes_; }

private:
    struct Ticket;
    Result<HttpAdmission> admit_route(const RequestContext& context,
                                      const HttpRequest& head,
                                      HttpMayBlock may_block,
                                      RouteTable::Match match);
    HttpResponse call(const RequestContext& context, HttpRequest& request, const Ticket& ticket);
    HttpResponse failure(const Error& error, const Route& route, std::string_view request_id) const;
    RequestContext inner_context(const RequestContext& context, const Ticket& ticket) const;
    void watch_stream(HttpResponse& response, const Route& route, const RequestContext& context);

    ApiServices& services_;
    const RouteTable routes_;
    HttpMetrics metrics_;
};

/// Each adds its routes; one for each source file.
void add_system_routes(RouteTable& routes, ApiServices& services);
void add_ingest_routes(RouteTable& routes, ApiServices& services);
void add_otlp_routes(RouteTable& routes, ApiServices& services);
void add_query_routes(RouteTable& routes, ApiServices& services);
void add_search_routes(RouteTable& routes, ApiServices& services);
void add_stream_routes(RouteTable& routes, ApiServices& services);
void add_token_routes(RouteTable& routes, ApiServices& services);

}  // namespace molesignal
