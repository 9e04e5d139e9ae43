#pragma once

#include <cstdint>
#include <string>

#include "api/services.h"
#include "auth/authenticator.h"
#include "common/bytes.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

enum class OtlpEncoding : std::uint8_t { kProtobuf = 1, kJson = 2 };

/// What an export answers: nothing, or which records were not taken.
struct OtlpAnswer {
    std::uint64_t rejected = 0;
    std::string message;  ///< The reasons of the first rejected records.
};

/// The stream that an export goes to when it names none.
inline constexpr std::string_view kOtlpDefaultStream = "default";

/// Stores an ExportLogsServiceRequest; returns when its rows are durable and visible. `protocol`
/// labels the metrics: "otlp_http" or "otlp_grpc".
Result<OtlpAnswer> ingest_otlp_logs(const RequestContext& context,
                                    ApiServices& services,
                                    const Principal& principal,
                                    const std::string& stream,
                                    Bytes body,
                                    OtlpEncoding encoding,
                                    const std::string& protocol);

/// The ExportLogsServiceResponse; `partial_success` only if something was rejected.
std::string encode_export_response(const OtlpAnswer& answer, OtlpEncoding encoding);

/// google.rpc.Status of an error, with RetryInfo if it is worth retrying: OTLP's error body, and
/// gRPC's details.
std::string encode_rpc_status(const Error& error, OtlpEncoding encoding);

}  // namespace molesignal
