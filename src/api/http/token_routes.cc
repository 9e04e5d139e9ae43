// /api/v1/tokens: API tokens of the organisation.
#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/json_value.h"

namespace molesignal {
namespace {

constexpr std::size_t kBodyBytesMax = 64U << 10U;

void append_token(std::string& out, const ApiToken& token) {
    out += "\"id\":";
    append_json_string(out, token.id);
    out += ",\"name\":";
    append_json_string(out, token.name);
    out += ",\"prefix\":";
    append_json_string(out, token.prefix);
    out += ",\"permissions\":[";
    for (std::size_t i = 0; i < token.permissions.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, token.permissions[i]);
    }
    const auto time = [](const std::optional<std::int64_t>& micros) {
        return micros.has_value() ? std::to_string(*micros) : "null";
    };
    out += fmt::format(R"(],"created_us":{},"expires_us":{},"revoked_us":{})",
                       token.created_us,
                       time(token.expires_us),
                       time(token.revoked_us));
}

Result<HttpResponse> create(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"name", "permissions", "expires_us"}));
    TokenRequest request;
    request.org = call.principal.org;
    MS_TRY(auto name, body.text("name"));
    MS_TRY(auto permissions, body.texts("permissions"));
    MS_TRY(request.expires_us, body.integer("expires_us"));
    if (!name.has_value() || !permissions.has_value()) {
        return Error(ErrorCode::kInvalidArgument, "'name' and 'permissions' are wanted");
    }
    request.name = std::move(*name);
    request.permissions = std::move(*permissions);
    MS_TRY(const auto made, services.authenticator->create_token(call.context, request));
    std::string out = "{";
    append_token(out, made.token);
    out += ",\"token\":";
    append_json_string(out, made.text);
    return HttpResponse::json(201, out + "}");
}

Result<HttpResponse> list(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto tokens,
           services.authenticator->list_tokens(call.context, call.principal.org));
    std::string out = "{\"tokens\":[";
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        out += i == 0 ? "{" : ",{";
        append_token(out, tokens[i]);
        out += "}";
    }
    return HttpResponse::json(200, out + "]}");
}

}  // namespace

void add_token_routes(RouteTable& routes, ApiServices& services) {
    Route route;
    route.path = "/api/v1/tokens";
    route.permission = Permission::kAdmin;
    route.method = "POST";
    route.summary = "Makes an API token; its text is in this answer only";
    route.request_type = "application/json";
    route.handler = [&services](ApiCall& call) { return create(call, services); };
    routes.add(route);

    route.method = "GET";
    route.summary = "All tokens of the organisation, without their secrets";
    route.request_type = "";
    route.handler = [&services](ApiCall& call) { return list(call, services); };
    routes.add(route);

    route.method = "DELETE";
    route.path = "/api/v1/tokens/{id}";
    route.summary = "Revokes a token";
    route.handler = [&services](ApiCall& call) -> Result<HttpResponse> {
        MS_TRY_VOID(services.authenticator->revoke_token(
            call.context, call.principal.org, call.path_parameter("id")));
        return HttpResponse::json(200, R"({"revoked":true})");
    };
    routes.add(std::move(route));
}

}  // namespace molesignal
