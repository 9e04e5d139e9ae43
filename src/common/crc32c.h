#pragma once

#include <cstdint>

#include "common/bytes.h"

namespace molesignal {

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) of `bytes`, continuing from `seed`, the
/// CRC of what came before. Uses SSE 4.2 where the machine has it.
std::uint32_t crc32c(Bytes bytes, std::uint32_t seed = 0);

/// The same without special instructions; the test's reference.
std::uint32_t crc32c_portable(Bytes bytes, std::uint32_t seed = 0);

}  // namespace molesignal
