#pragma once

#include <string>
#include <string_view>

namespace molesignal {

/// Lower case of ASCII letters, as DuckDB compares names.
inline std::string lower_name(std::string_view text) {
    std::string lower;
    lower.reserve(text.size());
    for (const char character : text) {
        lower.push_back(character >= 'A' && character <= 'Z'
                            ? static_cast<char>(character - 'A' + 'a')
                            : character);
    }
    return lower;
}

}  // namespace molesignal
