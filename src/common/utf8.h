#pragma once

#include <string>
#include <string_view>

namespace molesignal {

/// `text` with every byte sequence that is not UTF-8 replaced by U+FFFD, one for each longest
/// beginning of a character (as the Unicode standard recommends, §3.9). Valid text comes back as it
/// is.
std::string repair_utf8(std::string_view text);

}  // namespace molesignal
