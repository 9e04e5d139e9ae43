#pragma once

#include <cstdint>
#include <string_view>

#include "common/clock.h"
#include "common/result.h"

namespace molesignal {

/// A point in time as people write it, as microseconds since 1970-01-01 UTC: "now", "-15m" (units
/// s, m, h, d, w), RFC 3339 ("2025-03-01T12:00:00Z", "2025-03-01 12:00:00.5+02:00", "2025-03-01")
/// or a number, whose size says whether it counts seconds, milli-, micro- or nanoseconds.
/// kInvalidArgument otherwise.
Result<std::int64_t> parse_time_argument(std::string_view text, UnixNanos now);

}  // namespace molesignal
