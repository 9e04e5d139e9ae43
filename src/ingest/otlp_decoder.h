#pragma once

#include <string_view>

#include "common/bytes.h"
#include "common/result.h"
#include "ingest/decode.h"

namespace molesignal {

/// Turns an OTLP ExportLogsServiceRequest into rows (docs/api/ingest.md has the columns).
/// kInvalidArgument if the message cannot be parsed or has too many rows; rows outside the time
/// bounds are counted and reported. Thread-safe.
Result<DecodedRows> decode_otlp_logs(Bytes protobuf,
                                     const DecodeLimits& limits,
                                     const DecodeSettings& settings);

/// The same from OTLP's JSON form: ids in hex, 64-bit integers as strings or numbers, unknown
/// members ignored.
Result<DecodedRows> decode_otlp_logs_json(std::string_view json,
                                          const DecodeLimits& limits,
                                          const DecodeSettings& settings);

}  // namespace molesignal
