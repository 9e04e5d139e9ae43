#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/bytes.h"

namespace molesignal {

/// The hash of a value in filters: XXH3-64 of its bytes, seed 0.
std::uint64_t filter_hash(std::string_view value);

/// A Bloom filter of 256-bit blocks: the split block Bloom filter of Apache Parquet (Putze, Sanders
/// and Singler 2007), whose hash, salts and bit order it has. A key sets one bit in each of the
/// eight words of the block that the hash's upper half picks.
///
/// The number of blocks is a power of two, so that the block is the hash's top bits: two
/// neighbouring blocks joined by "or" are the block of a filter of half the size. So filters of
/// different sizes can be folded to one size.
class BlockFilter {
public:
    static constexpr std::size_t kBlockBytes = 32;

    /// log2 of the blocks for `keys` distinct keys: 8 to 16 bits a key, which is 3 % to 0.1 % of
    /// false answers.
    static unsigned bits_for(std::uint64_t keys);

    explicit BlockFilter(unsigned bits) : bits_(bits), words_((std::size_t{8}) << bits) {}
    void add(std::uint64_t hash);
    /// Block `i` as it is stored: eight little-endian words.
    Bytes block(std::size_t i) const;
    unsigned bits() const { return bits_; }

    /// Index of the block for `hash` among 2^bits.
    static std::uint64_t block_of(std::uint64_t hash, unsigned bits);
    /// Whether a key with `hash` may be in the filter that has `block` (32 bytes) at its block_of.
    static bool may_contain(Bytes block, std::uint64_t hash);

private:
    unsigned bits_;
    std::vector<std::uint32_t> words_;
};

}  // namespace molesignal
