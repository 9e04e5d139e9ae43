#pragma once

#include <string>

#include "api/services.h"
#include "common/request_context.h"
#include "common/result.h"
#include "config/config.h"
#include "ingest/decode.h"
#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

/// The decoders' limits by the server's settings.
DecodeLimits decode_limits(const Config& config);

/// What decoding rows for a stream depends on; the stream is made if missing.
Result<DecodeSettings> decode_settings(const RequestContext& context,
                                       ApiServices& services,
                                       const OrgId& org,
                                       StreamType type,
                                       const std::string& stream);

/// Counts what came in by a protocol ("json", "otlp_http", "otlp_grpc").
void count_ingested(ApiServices& services,
                    const std::string& protocol,
                    const DecodedBatch& decoded,
                    std::uint64_t bytes);

}  // namespace molesignal
