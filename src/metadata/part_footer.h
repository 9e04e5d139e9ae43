#pragma once

#include <cstdint>

#include "common/bytes.h"

namespace molesignal {

/// XXH3-64 of a Parquet file's footer: the bytes before its length and the magic at the end. 0 if
/// `file` does not end like a Parquet file.
std::uint64_t footer_xxh3(Bytes file);

}  // namespace molesignal
