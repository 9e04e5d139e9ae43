#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace molesignal {

/// Nanoseconds since 1970 UTC from a number, by its magnitude: below 1e11 seconds, below 1e14
/// milliseconds, below 1e17 microseconds, else nanoseconds. Nothing if it does not fit 64 bits.
std::optional<std::int64_t> time_from_integer(std::int64_t number);
std::optional<std::int64_t> time_from_real(double number);

/// From RFC 3339 (up to nine digits, 'T' or a space, offset or 'Z'; none means UTC) or from a
/// number in text. Nothing if it is neither, or outside the years 1678 to 2261.
std::optional<std::int64_t> time_from_text(std::string_view text);

}  // namespace molesignal
