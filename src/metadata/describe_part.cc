#include "metadata/describe_part.h"

#include <cstring>

#include <xxhash.h>

namespace molesignal {

std::uint64_t footer_xxh3(Bytes file) {
    constexpr std::size_t kEndBytes = 8;  // The footer's length and "PAR1".
    if (file.size() < kEndBytes || std::memcmp(&file[file.size() - 4], "PAR1", 4) != 0) {
        return 0;
    }
    const auto length = load_le<std::uint32_t>(file, file.size() - kEndBytes);
    if (length > file.size() - kEndBytes) {
        return 0;
    }
    return ::XXH3_64bits(&file[file.size() - kEndBytes - length], length);
}

}  // namespace molesignal
