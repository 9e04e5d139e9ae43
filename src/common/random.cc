#include "common/random.h"

#include <array>
#include <cerrno>

#include <sys/random.h>

namespace molesignal {

std::uint64_t Random::next_u64() {
    std::array<std::byte, 8> bytes{};
    fill(bytes);
    return load_le<std::uint64_t>(bytes, 0);
}

void SystemRandom::fill(MutableBytes out) {
    while (!out.empty()) {
        const auto got = ::getrandom(out.data(), out.size(), 0);
        if (got < 0) {
            MS_ASSERT(errno == EINTR);
            continue;
        }
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

void SeededRandom::fill(MutableBytes out) {
    const MutexLock lock(mutex_);
    while (!out.empty()) {
        // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
        state_ += 0x9e3779b97f4a7c15ULL;
        auto mixed = state_;
        mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
        mixed ^= mixed >> 31U;
        const auto count = std::min(out.size(), sizeof mixed);
        std::memcpy(out.data(), &mixed, count);
        out = out.subspan(count);
    }
}

std::string make_ulid(UnixNanos now, Random& random) {
    constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
    std::string text(26, '0');
    auto millis = static_cast<std::uint64_t>(now.value / 1'000'000);
    for (int i = 9; i >= 0; --i) {
        text[static_cast<std::size_t>(i)] = kDigits[millis & 31U];
        millis >>= 5U;
    }
    std::array<std::byte, 16> noise{};
    random.fill(noise);
    for (std::size_t i = 0; i < 16; ++i) {
        text[10 + i] = kDigits[std::to_integer<unsigned>(noise[i]) & 31U];
    }
    return text;
}

}  // namespace molesignal
