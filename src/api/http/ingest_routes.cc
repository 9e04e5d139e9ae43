// POST /api/v1/ingest/logs/{stream}: JSON rows in.
#include <fmt/format.h>

#include "api/http/http_api.h"
#include "api/ingest_settings.h"
#include "ingest/json_decoder.h"

namespace molesignal {
namespace {

Result<CommitMode> commit_mode(const HttpRequest& request) {
    const auto mode = request.query("commit").value_or("auto");
    if (mode == "auto") {
        return CommitMode::kAuto;
    }
    if (mode == "wait_for") {
        return CommitMode::kWaitFor;
    }
    if (mode == "force") {
        return CommitMode::kForce;
    }
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("commit={}: want auto (durable and visible), wait_for (and in a part "
                             "by the next flush) or "
                             "force (flushed now)",
                             mode));
}

std::string answer_text(const DecodedRows& decoded) {
    std::string out = fmt::format(
        R"({{"accepted":{},"rejected":{},"errors":[)", decoded.accepted, decoded.rejected);
    for (std::size_t i = 0; i < decoded.errors.size(); ++i) {
        out +=
            fmt::format("{}{{\"index\":{},\"reason\":", i == 0 ? "" : ",", decoded.errors[i].index);
        append_json_string(out, decoded.errors[i].reason);
        out += "}";
    }
    return out + "]}";
}

Result<HttpResponse> ingest_logs(ApiCall& call, ApiServices& services) {
    const auto& stream = call.path_parameter("stream");
    MS_TRY(const auto mode, commit_mode(call.request));
    MS_TRY_VOID(check_stream_name(stream));
    auto& body = call.request.body;
    const auto raw_bytes = body.size();
    MS_TRY(auto decoded,
           decode_for_stream(call.context,
                             services,
                             call.principal.org,
                             StreamType::kLogs,
                             stream,
                             [&body](const DecodeLimits& limits, const DecodeSettings& settings) {
                                 return decode_json_rows(body, limits, settings);
                             }));
    // The text is decoded: its memory need not wait for the disk.
    std::string().swap(body);
    // Rows in the log follow their course: a client that goes away does not stop them.
    auto context = call.context;
    context.cancel = CancelToken();
    MS_TRY(const auto receipt,
           services.ingester->ingest(context,
                                     call.principal.org,
                                     StreamType::kLogs,
                                     stream,
                                     std::move(decoded.batches),
                                     raw_bytes,
                                     mode));
    count_ingested(services, "json", decoded, raw_bytes);
    auto answer = answer_text(decoded);
    if (mode != CommitMode::kAuto) {
        answer.pop_back();
        answer += fmt::format(R"(,"flushed":{}}})", receipt.flushed);
    }
    return HttpResponse::json(200, std::move(answer));
}

}  // namespace

void add_ingest_routes(RouteTable& routes, ApiServices& services) {
    Route route;
    route.method = "POST";
    route.path = "/api/v1/ingest/logs/{stream}";
    route.permission = Permission::kIngest;
    route.summary =
        "Stores log rows: a JSON object, an array of objects, or NDJSON; answers when they are "
        "durable and visible";
    route.request_type = "application/json";
    route.parameters = {
        {.name = "commit", .in = "query", .description = "auto, wait_for or force"}};
    route.lane_of = [](const HttpRequest& request) {
        const auto mode = commit_mode(request);
        return mode == CommitMode::kWaitFor ? Lane::kCommit
               : mode == CommitMode::kForce ? Lane::kFlush
                                            : Lane::kIngest;
    };
    route.handler = [&services](ApiCall& call) { return ingest_logs(call, services); };
    routes.add(std::move(route));

    Route flush;
    flush.method = "POST";
    flush.path = "/api/v1/flush";
    flush.permission = Permission::kAdmin;
    flush.lane = Lane::kFlush;
    flush.summary = "Flushes every acknowledged row to parts; answers when they are committed";
    flush.handler = [&services](ApiCall& call) -> Result<HttpResponse> {
        MS_TRY_VOID(services.ingester->flush_all(call.context));
        return HttpResponse::json(200, R"({"flushed":true})");
    };
    routes.add(std::move(flush));
}

}  // namespace molesignal
