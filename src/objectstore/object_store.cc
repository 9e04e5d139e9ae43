#include "objectstore/object_store.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

Result<> check_object_key(std::string_view key) {
    constexpr std::size_t kKeyBytesMax = 1024;
    const auto fail = [key](std::string_view why) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("object key '{}': {}", key.substr(0, 100), why));
    };
    if (key.empty() || key.size() > kKeyBytesMax) {
        return fail(fmt::format("has {} bytes, allowed are 1 to {}", key.size(), kKeyBytesMax));
    }
    std::size_t begin = 0;
    while (begin <= key.size()) {
        const auto end = std::min(key.find('/', begin), key.size());
        const auto segment = key.substr(begin, end - begin);
        if (segment.empty() || segment == "." || segment == "..") {
            return fail("has an empty segment or one of dots");
        }
        const bool good = std::ranges::all_of(segment, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '_' || c == '.' || c == '=' || c == '-';
        });
        if (!good) {
            return fail("has a character outside [A-Za-z0-9_.=-]");
        }
        begin = end + 1;
    }
    return {};
}

}  // namespace molesignal
