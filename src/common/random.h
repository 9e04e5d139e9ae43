#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace molesignal {

/// A source of random bytes. Thread-safe. SystemRandom is fit for secrets, SeededRandom is not.
class Random {
public:
    virtual ~Random() = default;
    /// Fills `out` with random bytes.
    virtual void fill(MutableBytes out) = 0;
    /// A uniformly random 64-bit number.
    std::uint64_t next_u64();
};

/// The kernel's generator.
class SystemRandom final : public Random {
public:
    void fill(MutableBytes out) override;
};

/// A repeatable sequence (splitmix64), for tests and jitter.
class SeededRandom final : public Random {
public:
    explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
    void fill(MutableBytes out) override;

private:
    Mutex mutex_;
    std::uint64_t state_ MS_GUARDED_BY(mutex_);
};

/// A ULID: 48 bits of milliseconds and 80 random bits as 26 characters of Crockford's base 32,
/// lower case here, because it becomes part of object keys. Sorts by time.
std::string make_ulid(UnixNanos now, Random& random);

}  // namespace molesignal
