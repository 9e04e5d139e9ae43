#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/bytes.h"

namespace molesignal {

/// Appends `value` in groups of seven bits, the lowest first, the top bit set in all but the last
/// (LEB128).
void append_varint(ByteBuffer& out, std::uint64_t value);

/// Appends the length of `text` and its bytes.
void append_text(ByteBuffer& out, std::string_view text);

/// Takes values off the front of bytes that may be damaged. After a value that is not there, or is
/// larger than it may be, `ok()` is false for good and everything else reads as 0 or "".
class ByteReader {
public:
    explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

    std::uint64_t varint(std::uint64_t value_max = UINT64_MAX);
    std::uint8_t u8();
    std::uint32_t u32();
    std::uint64_t u64();
    /// A length of at most `bytes_max` and as many bytes, viewed.
    std::string_view text(std::uint64_t bytes_max);
    Bytes take(std::uint64_t size);

    void fail() { ok_ = false; }
    bool ok() const { return ok_; }
    std::size_t left() const { return ok_ ? bytes_.size() - at_ : 0; }
    std::size_t position() const { return at_; }

private:
    Bytes bytes_;
    std::size_t at_ = 0;
    bool ok_ = true;
};

/// Writes single bits, the lowest of each byte first.
class BitWriter {
public:
    explicit BitWriter(ByteBuffer& out) : out_(out) {}
    /// Writes the low `bits` (at most 57) of `value`, which has no others.
    void put(std::uint64_t value, unsigned bits);
    /// Writes `zeros` zeros and a one.
    void put_unary(std::uint64_t zeros);
    /// Fills the last byte.
    void flush();

private:
    ByteBuffer& out_;
    std::uint64_t pending_ = 0;
    unsigned pending_bits_ = 0;
};

/// Reads what a BitWriter wrote, from bytes that may be damaged: beyond their end are zeros.
class BitReader {
public:
    explicit BitReader(Bytes bytes) : bytes_(bytes) {}

    /// The next `bits`, at most 57.
    std::uint64_t take(unsigned bits) {
        const auto value = window() & ((std::uint64_t{1} << bits) - 1);
        at_ += bits;
        return value;
    }
    /// A number in Rice code: zeros for its upper part, a one, `k` (at most 31) lower bits. Not
    /// found before the end: overran().
    std::uint64_t rice(unsigned k) {
        const auto word = window();
        const auto zeros = word == 0 ? 64U : static_cast<unsigned>(__builtin_ctzll(word));
        if (zeros + 1 + k > 57) [[unlikely]] {
            return long_rice(k);
        }
        at_ += zeros + 1 + k;
        return std::uint64_t{zeros} << k | (word >> (zeros + 1) & ((std::uint64_t{1} << k) - 1));
    }
    bool overran() const { return at_ > std::uint64_t{bytes_.size()} * 8; }
    /// Whole bytes that were begun.
    std::uint64_t bytes_read() const { return (at_ + 7) / 8; }

private:
    /// At least 57 bits from here on.
    std::uint64_t window() const {
        const auto byte = at_ / 8;
        std::uint64_t word = 0;
        if (byte + 8 <= bytes_.size()) [[likely]] {
            std::memcpy(&word, bytes_.data() + byte, 8);
        } else if (byte < bytes_.size()) {
            std::memcpy(&word, bytes_.data() + byte, bytes_.size() - byte);
        }
        return word >> at_ % 8;
    }
    std::uint64_t long_rice(unsigned k);

    Bytes bytes_;
    std::uint64_t at_ = 0;  ///< In bits.
};

/// Appends ascending numbers: a byte with the parameter k, then each gap less one in Rice code
/// (Golomb 1966, Rice 1979), with the k that takes the fewest bits near the one for even gaps. At
/// most size * (k + 1) + last / 2^k bits, however the numbers lie.
void append_ascending(ByteBuffer& out, std::span<const std::uint32_t> ascending);

/// Bytes that append_ascending would take for `count` evenly spread numbers below `universe`: an
/// estimate.
double spread_bytes(std::uint64_t count, std::uint64_t universe);

/// Reads `count` numbers below `universe` that fill `bytes` exactly, and appends them to `out`.
/// False if that is not what the bytes hold; `out` then has some of them.
bool read_ascending(Bytes bytes,
                    std::uint64_t count,
                    std::uint64_t universe,
                    std::vector<std::uint32_t>& out);

/// The same, but sets a bit for each number; `bits` has at least `universe`.
bool read_ascending_bits(Bytes bytes,
                         std::uint64_t count,
                         std::uint64_t universe,
                         std::span<std::uint64_t> bits);

/// The parameter of the Rice code for even gaps of `mean`.
unsigned rice_parameter(double mean);

}  // namespace molesignal
