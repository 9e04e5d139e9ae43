#pragma once

#include <optional>
#include <string_view>

namespace molesignal {

/// Whether `token` is a number of JSON (RFC 8259 §6), whatever its size.
bool is_json_number(std::string_view token);

/// The double nearest to a number of JSON, or nothing if it is too large for one, or so small that
/// it would become zero.
std::optional<double> double_of_json(std::string_view token);

}  // namespace molesignal
