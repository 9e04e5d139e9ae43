// OTLP over HTTP: POST /v1/logs (both ports) and /api/v1/logs.
#include <fmt/format.h>

#include "api/error_form.h"
#include "api/http/http_api.h"
#include "api/otlp_ingest.h"

namespace molesignal {
namespace {

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

Result<HttpResponse> export_logs(ApiCall& call, ApiServices& services) {
    auto media = call.request.header("Content-Type").value_or("");
    media = trim_spaces(media.substr(0, media.find(';')));
    const bool is_json = equal_ignoring_case(media, kJson);
    if (!is_json && !equal_ignoring_case(media, kProtobuf)) {
        return HttpResponse::error(
            415,
            "unsupported_media_type",
            fmt::format("Content-Type '{}': OTLP comes as {} or {}", media, kProtobuf, kJson),
            call.request.request_id);
    }
    const auto encoding = is_json ? OtlpEncoding::kJson : OtlpEncoding::kProtobuf;
    media = is_json ? kJson : kProtobuf;
    const std::string stream(call.request.header("stream-name").value_or(kOtlpDefaultStream));
    auto answer = ingest_otlp_logs(call.context,
                                   services,
                                   call.principal,
                                   stream,
                                   as_bytes(call.request.body),
                                   encoding,
                                   "otlp_http");
    if (!answer) {
        // The status as everywhere, the body as OTLP wants it.
        const auto error =
            error_for_client(answer.error(), call.request.path, call.request.request_id);
        auto response = error_response(error, call.request.request_id);
        response.body = encode_rpc_status(error, encoding);
        response.set_header("Content-Type", std::string(media));
        return response;
    }
    HttpResponse response;
    response.body = encode_export_response(*answer, encoding);
    response.set_header("Content-Type", std::string(media));
    return response;
}

}  // namespace

void add_otlp_routes(RouteTable& routes, ApiServices& services) {
    for (const auto* path : {"/v1/logs", "/api/v1/logs"}) {
        Route route;
        route.method = "POST";
        route.path = path;
        route.permission = Permission::kIngest;
        route.lane = Lane::kIngest;
        route.summary = "OTLP logs, as protobuf or JSON; answers when they are durable and visible";
        route.request_type = kProtobuf;
        route.response_type = kProtobuf;
        route.parameters = {{.name = "stream-name",
                             .in = "header",
                             .description = "the stream; 'default' if missing"}};
        route.handler = [&services](ApiCall& call) { return export_logs(call, services); };
        routes.add(std::move(route));
    }
}

}  // namespace molesignal
