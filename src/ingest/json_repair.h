#pragma once

#include <string>
#include <string_view>

namespace molesignal {

/// `json` with what senders often get wrong inside strings put right: bytes that are not UTF-8 and
/// escapes of half a surrogate pair become U+FFFD, control characters their escapes. Everything
/// else is as it was; the result need not be JSON.
std::string repair_json(std::string_view json);

}  // namespace molesignal
