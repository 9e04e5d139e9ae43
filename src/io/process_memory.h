#pragma once

#include <cstdint>

namespace molesignal {

/// Memory of this process that is in RAM, its code and mapped files too; 0 if /proc is not there.
/// Cheap enough for many times a second. Thread-safe.
std::uint64_t resident_bytes();

/// Gives memory that was freed, but kept for the next allocation, back to the kernel. Takes
/// milliseconds. Thread-safe.
void release_free_memory();

}  // namespace molesignal
