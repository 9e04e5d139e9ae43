#pragma once

/// MS_ASSERT(x): a cheap invariant, on in every build; aborts with file and line.
/// MS_DCHECK(x): a costly one, on in dev and sanitizer builds.
/// What input, disk or network can cause is an Error, never an assertion.

namespace molesignal {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}  // namespace molesignal

#define MS_ASSERT(expression)                                                \
    do {                                                                     \
        if (!(expression)) [[unlikely]] {                                    \
            ::molesignal::assertion_failed(#expression, __FILE__, __LINE__); \
        }                                                                    \
    } while (false)

#if defined(MS_DCHECKS)
#define MS_DCHECK(expression) MS_ASSERT(expression)
#else
#define MS_DCHECK(expression) \
    do {                      \
    } while (false)
#endif
