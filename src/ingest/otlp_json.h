#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"

namespace opentelemetry::proto::collector::logs::v1 {
class ExportLogsServiceRequest;
}  // namespace opentelemetry::proto::collector::logs::v1

namespace molesignal {

/// What reading a request found besides the records in it.
struct OtlpJsonFindings {
    /// Records that are not in the request, by their number in the text from 0, ascending.
    std::vector<std::pair<std::uint64_t, std::string>> refused;
    bool repaired = false;  ///< Bytes inside strings were put right (json_repair.h).
};

/// Reads OTLP's JSON form of a logs request. It differs from protobuf's own JSON: trace and span
/// ids are hex, enums are numbers. Unknown members are ignored, as the protocol asks. A record that
/// is not of the form is left out; kInvalidArgument if what is around the records is not.
Result<OtlpJsonFindings> parse_otlp_json(
    std::string_view json,
    opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest& request);

}  // namespace molesignal
