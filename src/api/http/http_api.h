#pragma once

#include <memory>

#include "api/http/route_table.h"
#include "api/services.h"
#include "common/metrics.h"
#include "net/http.h"
#include "net/http_server.h"

namespace molesignal {

/// The HTTP API: authenticates, finds the route, checks its permission, calls its handler.
/// Thread-safe.
class HttpApi {
public:
    explicit HttpApi(ApiServices& services);
    ~HttpApi();
    HttpApi(const HttpApi&) = delete;
    HttpApi& operator=(const HttpApi&) = delete;

    HttpResponse handle(const RequestContext& context, HttpRequest&& request);
    /// Counts an answer; given to the server as its hook.
    void record(const HttpAccessRecord& access);
    const RouteTable& routes() const { return routes_; }

private:
    ApiServices& services_;
    RouteTable routes_;
};

/// Each adds its routes; one for each source file.
void add_system_routes(RouteTable& routes, ApiServices& services);
void add_ingest_routes(RouteTable& routes, ApiServices& services);
void add_otlp_routes(RouteTable& routes, ApiServices& services);
void add_query_routes(RouteTable& routes, ApiServices& services);
void add_stream_routes(RouteTable& routes, ApiServices& services);
void add_token_routes(RouteTable& routes, ApiServices& services);

}  // namespace molesignal
