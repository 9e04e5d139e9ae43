#pragma once

#include <functional>
#include <string>

#include "api/services.h"
#include "common/request_context.h"
#include "common/result.h"
#include "ingest/decode.h"
#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

/// Decodes a request's rows for a stream and makes its new names fields of the stream, which is
/// made if there are rows. `decode` may run more than once: other requests may use up the stream's
/// room for fields meanwhile.
Result<DecodedRows> decode_for_stream(
    const RequestContext& context,
    ApiServices& services,
    const OrgId& org,
    StreamType type,
    const std::string& stream,
    const std::function<Result<DecodedRows>(const DecodeLimits&, const DecodeSettings&)>& decode);

/// Counts what came in by a protocol ("json", "otlp_http", "otlp_grpc").
void count_ingested(ApiServices& services,
                    const std::string& protocol,
                    const DecodedRows& decoded,
                    std::uint64_t bytes);

}  // namespace molesignal
