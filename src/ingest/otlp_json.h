#pragma once

#include <string_view>

#include "common/result.h"

namespace opentelemetry::proto::collector::logs::v1 {
class ExportLogsServiceRequest;
}  // namespace opentelemetry::proto::collector::logs::v1

namespace molesignal {

/// Reads OTLP's JSON form of a logs request. It differs from protobuf's own JSON: trace and span
/// ids are hex, enums are numbers. Unknown members are ignored, as the protocol asks.
/// kInvalidArgument otherwise.
Result<> parse_otlp_json(
    std::string_view json,
    opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest& request);

}  // namespace molesignal
