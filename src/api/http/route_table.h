#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/http/http_lanes.h"
#include "auth/authenticator.h"
#include "auth/permission.h"
#include "common/request_context.h"
#include "net/http.h"

namespace molesignal {

/// Values of the `{name}` segments of a route's path.
using PathParameters = std::map<std::string, std::string, std::less<>>;

/// A request on its way to a handler: verified credential, path parameters.
struct ApiCall {
    const RequestContext& context;
    HttpRequest& request;
    const Principal& principal;
    const PathParameters& path_parameters;

    const std::string& path_parameter(std::string_view name) const;
};

/// A handler's answer; an Error becomes the JSON error envelope with the status of its code.
using ApiHandler = std::function<Result<HttpResponse>(ApiCall& call)>;

/// A parameter of a route. Query parameters that are not listed are refused.
struct RouteParameter {
    std::string name;
    std::string in;  ///< "path", "query" or "header".
    std::string description;
    bool required = false;
};

/// One route: everything that is known about it is here, and `/api/v1/openapi.json` is made from
/// it.
struct Route {
    std::string method;
    std::string path;  ///< Segments; `{name}` matches one segment.
    Permission permission = Permission::kAdmin;
    std::string summary;
    ApiHandler handler;
    std::vector<RouteParameter> parameters;
    std::string request_type;  ///< Media type of the body, empty if none.
    std::string response_type = "application/json";
    Lane lane = Lane::kAdmin;
    /// The lane of one request, where it depends on more than the route. Quick.
    std::function<Lane(const HttpRequest& request)> lane_of;
    /// Answered on the I/O thread, whatever else the server is busy with: public, quick, no body.
    bool is_probe = false;
};

/// All routes of the HTTP API. Built at start, then immutable and shared.
class RouteTable {
public:
    /// Adds a route. Method and path pattern must be new.
    void add(Route route);

    struct Match {
        const Route* route = nullptr;  ///< Null: no such path, or not with this method.
        PathParameters path_parameters;
        std::vector<std::string> allowed_methods;  ///< Of the path, if the method does not fit.
    };
    /// HEAD matches GET.
    Match find(std::string_view method, std::string_view path) const;

    const std::vector<Route>& routes() const { return routes_; }

    /// The OpenAPI 3.1 document of the routes.
    std::string openapi_json(std::string_view version) const;

private:
    std::vector<Route> routes_;
    std::vector<std::vector<std::string>> segments_;  ///< Of the routes' paths.
};

/// kInvalidArgument: a query parameter that the route does not have (with the nearest it has), or
/// one given twice.
Result<> check_query_parameters(const Route& route, const HttpRequest& request);

/// The JSON error envelope; 429 and 503 carry Retry-After.
HttpResponse error_response(const Error& error, std::string_view request_id);

}  // namespace molesignal
