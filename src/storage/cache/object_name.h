#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace molesignal {

/// An object as the catalogue knows it. Objects never change, so what is cached of one is good for
/// ever.
struct ObjectName {
    std::string key;
    std::uint64_t bytes = 0;
    std::uint64_t xxh3 = 0;  ///< Of the content; 0: not known.
};

/// XXH3-128 of an object's key: what caches find it by.
struct ObjectHash {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    friend auto operator<=>(const ObjectHash&, const ObjectHash&) = default;

    static ObjectHash of(std::string_view key);
};

}  // namespace molesignal
