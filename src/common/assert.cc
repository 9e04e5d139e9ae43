#include "common/assert.h"

#include <cstdio>
#include <cstdlib>

namespace molesignal {

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "assertion failed: %s (%s:%d)\n", expression, file, line);
    std::fflush(stderr);
    std::abort();
}

}  // namespace molesignal
