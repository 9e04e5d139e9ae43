#pragma once

#include <string>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "net/compression.h"

namespace molesignal {

/// Readable bytes after the end of every request body, so that simdjson can parse it in place.
inline constexpr std::size_t kBodyPaddingBytes = 64;

/// Makes room for `bytes` bytes of content and the padding in `body`, taking the memory on
/// `reservation`, which holds that of `body`, before it is allocated. Grows by doubling, to
/// `bytes_max` at most. kResourceExhausted: the budget; nothing has changed then.
Result<> reserve_body(std::string& body,
                      std::size_t bytes,
                      std::size_t bytes_max,
                      MemoryReservation& reservation);

/// Undoes the content coding of a whole body, for every protocol. Takes what the result and the
/// decoder need on `reservation` (empty, of the budget of bodies), which holds the result's memory
/// afterwards. The result has kBodyPaddingBytes of room. kTooLarge: more than limits.bytes_max;
/// kResourceExhausted: the budget; kInvalidArgument: malformed.
Result<std::string> decode_body(ContentCoding coding,
                                Bytes wire,
                                const DecoderLimits& limits,
                                MemoryReservation& reservation);

}  // namespace molesignal
