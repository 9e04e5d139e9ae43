#pragma once

#include <string>

#include "common/result.h"
#include "ingest/decode.h"

namespace molesignal {

/// Readable bytes that must follow the text given to decode_json_rows.
inline constexpr std::size_t kJsonPaddingBytes = 64;

/// Turns a JSON request body into rows: one object, an array of objects, or NDJSON
/// (docs/api/ingest.md).
///
/// `body` needs kJsonPaddingBytes of capacity behind its size. A bad row is counted and reported,
/// good ones are kept. kInvalidArgument only if the whole body is refused (too many rows).
/// Thread-safe.
Result<DecodedRows> decode_json_rows(const std::string& body,
                                     const DecodeLimits& limits,
                                     const DecodeSettings& settings);

}  // namespace molesignal
