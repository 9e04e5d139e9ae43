#include "io/process_memory.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <malloc.h>
#include <unistd.h>

// The program is linked with jemalloc, tests and sanitizer builds are not
// (docs/decisions/0015-allocator.md). jemalloc reads this name at its start.
extern "C" {
[[gnu::used]] const char* malloc_conf =
    "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
[[gnu::weak]] int mallctl(
    const char* name, void* old, std::size_t* old_bytes, void* value, std::size_t bytes);
}

namespace molesignal {

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t all = 0;
    std::uint64_t resident = 0;
    return file >> all >> resident ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))
                                   : 0;
}

void release_free_memory() {
    if (mallctl != nullptr) {
        (void)mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);  // 4096: of all arenas.
    } else {
        (void)::malloc_trim(0);
    }
}

}  // namespace molesignal
