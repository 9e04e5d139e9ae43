#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/result.h"

namespace molesignal {

/// Snappy as senders of telemetry use it: one raw block (Prometheus), or the framing format with
/// its stream identifier and checksums. The first bytes tell which.

/// What `content` says it decodes to, without decoding it. kInvalidArgument: not snappy.
Result<std::uint64_t> snappy_declared_size(Bytes content);

/// Appends the decoded content to `out`, at most as much as snappy_declared_size said.
/// kInvalidArgument: malformed, a wrong checksum, or not as long as declared.
Result<> decode_snappy(Bytes content, std::string& out);

}  // namespace molesignal
