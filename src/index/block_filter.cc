#include "index/block_filter.h"

#include <algorithm>
#include <array>
#include <bit>

#include <xxhash.h>

#include "index/sidecar_format.h"

namespace molesignal {
namespace {

constexpr std::array<std::uint32_t, 8> kSalts = {0x47b6137bU,
                                                 0x44974d91U,
                                                 0x8824ad5bU,
                                                 0xa2b7289dU,
                                                 0x705495c7U,
                                                 0x2df1424bU,
                                                 0x9efc4947U,
                                                 0x5c6bfb31U};

}  // namespace

std::uint64_t filter_hash(std::string_view value) {
    return XXH3_64bits(value.data(), value.size());
}

unsigned BlockFilter::bits_for(std::uint64_t keys) {
    const auto blocks = std::bit_ceil(std::max<std::uint64_t>(1, (keys * 8 + 255) / 256));
    return std::min(kFilterBitsMax, static_cast<unsigned>(std::countr_zero(blocks)));
}

std::uint64_t BlockFilter::block_of(std::uint64_t hash, unsigned bits) {
    return bits == 0 ? 0 : hash >> (64 - bits);
}

void BlockFilter::add(std::uint64_t hash) {
    auto* words = words_.data() + block_of(hash, bits_) * 8;
    const auto key = static_cast<std::uint32_t>(hash);
    for (std::size_t i = 0; i < 8; ++i) {
        words[i] |= std::uint32_t{1} << (key * kSalts[i] >> 27U);
    }
}

Bytes BlockFilter::block(std::size_t i) const {
    return std::as_bytes(std::span(words_).subspan(i * 8, 8));
}

bool BlockFilter::may_contain(Bytes block, std::uint64_t hash) {
    const auto key = static_cast<std::uint32_t>(hash);
    for (std::size_t i = 0; i < 8; ++i) {
        if ((load_le<std::uint32_t>(block, i * 4) >> (key * kSalts[i] >> 27U) & 1U) == 0) {
            return false;
        }
    }
    return true;
}

}  // namespace molesignal
