#include "api/otlp_ingest.h"

#include <fmt/format.h>

#include "api/error_form.h"
#include "api/ingest_settings.h"
#include "ingest/otlp_decoder.h"
#include "net/http.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb.h"

namespace molesignal {
namespace {

constexpr int kRetryDelaySeconds = 1;

void append_varint(std::string& out, std::uint64_t value) {
    while (value >= 0x80) {
        out.push_back(static_cast<char>(value | 0x80U));
        value >>= 7U;
    }
    out.push_back(static_cast<char>(value));
}

void append_field(std::string& out, std::uint32_t number, std::string_view content) {
    append_varint(out, number << 3U | 2U);
    append_varint(out, content.size());
    out += content;
}

}  // namespace

std::string encode_rpc_status(const Error& error, OtlpEncoding encoding) {
    const auto& form = error_form(error.code());
    if (encoding == OtlpEncoding::kJson) {
        std::string out = fmt::format(R"({{"code":{},"message":)", form.grpc_code);
        append_json_string(out, error.message());
        return out + "}";
    }
    // google.rpc.Status{code = 1, message = 2, details = 3}, by hand: two small messages of a fixed
    // form.
    std::string out;
    append_varint(out, 1U << 3U);
    append_varint(out, static_cast<std::uint64_t>(form.grpc_code));
    append_field(out, 2, error.message());
    if (form.retryable) {
        std::string duration;
        append_varint(duration, 1U << 3U);
        append_varint(duration, kRetryDelaySeconds);
        std::string retry_info;
        append_field(retry_info, 1, duration);
        std::string any;
        append_field(any, 1, "type.googleapis.com/google.rpc.RetryInfo");
        append_field(any, 2, retry_info);
        append_field(out, 3, any);
    }
    return out;
}

std::string encode_export_response(const OtlpAnswer& answer, OtlpEncoding encoding) {
    if (encoding == OtlpEncoding::kJson) {
        if (answer.rejected == 0) {
            return "{}";
        }
        std::string out = fmt::format(
            R"({{"partialSuccess":{{"rejectedLogRecords":"{}","errorMessage":)", answer.rejected);
        append_json_string(out, answer.message);
        return out + "}}";
    }
    opentelemetry::proto::collector::logs::v1::ExportLogsServiceResponse response;
    if (answer.rejected > 0) {
        response.mutable_partial_success()->set_rejected_log_records(
            static_cast<std::int64_t>(answer.rejected));
        response.mutable_partial_success()->set_error_message(answer.message);
    }
    return response.SerializeAsString();
}

Result<OtlpAnswer> ingest_otlp_logs(const RequestContext& context,
                                    ApiServices& services,
                                    const Principal& principal,
                                    const std::string& stream,
                                    Bytes body,
                                    OtlpEncoding encoding,
                                    const std::string& protocol) {
    MS_TRY_VOID(check_stream_name(stream));
    MS_TRY(auto decoded,
           decode_for_stream(context,
                             services,
                             principal.org,
                             StreamType::kLogs,
                             stream,
                             [&](const DecodeLimits& limits, const DecodeSettings& settings) {
                                 return encoding == OtlpEncoding::kProtobuf
                                            ? decode_otlp_logs(body, limits, settings)
                                            : decode_otlp_logs_json(
                                                  as_text(body), limits, settings);
                             }));
    OtlpAnswer answer{.rejected = decoded.rejected, .message = {}};
    constexpr std::size_t kReasonsMax = 5;
    for (std::size_t i = 0; i < std::min(kReasonsMax, decoded.errors.size()); ++i) {
        answer.message += fmt::format("{}record {}: {}",
                                      i == 0 ? "" : "; ",
                                      decoded.errors[i].index,
                                      decoded.errors[i].reason);
    }
    // Rows in the log follow their course: a client that goes away does not stop them.
    auto inner = context;
    inner.cancel = CancelToken();
    MS_TRY_VOID(services.ingester->ingest(inner,
                                          principal.org,
                                          StreamType::kLogs,
                                          stream,
                                          std::move(decoded.batches),
                                          body.size(),
                                          CommitMode::kAuto));
    count_ingested(services, protocol, decoded, body.size());
    return answer;
}

}  // namespace molesignal
