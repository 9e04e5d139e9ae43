#include "storage/cache/object_name.h"

#include <xxhash.h>

namespace molesignal {

ObjectHash ObjectHash::of(std::string_view key) {
    const auto hash = XXH3_128bits(key.data(), key.size());
    return {.high = hash.high64, .low = hash.low64};
}

}  // namespace molesignal
