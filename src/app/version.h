#pragma once

#include <string>
#include <string_view>

namespace molesignal {

/// "0.1.0"
std::string_view version_number();

/// "molesignal 0.1.0 (Release, Clang 19.1.7)"
std::string version_text();

}  // namespace molesignal
