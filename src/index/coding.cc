#include "index/coding.h"

#include <algorithm>
#include <cmath>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr unsigned kRiceMax = 31;

/// Bits of the gaps with parameter `k`.
std::uint64_t rice_bits(std::span<const std::uint32_t> ascending, unsigned k) {
    std::uint64_t bits = ascending.size() * (k + 1);
    std::uint32_t next = 0;
    for (const auto value : ascending) {
        bits += (value - next) >> k;
        next = value + 1;
    }
    return bits;
}

/// Whether `count` numbers below `universe` may be in a list of these bytes. Each takes a bit at
/// least, so what is allocated for them is bounded by the bytes that are there.
bool may_hold(Bytes bytes, std::uint64_t count, std::uint64_t universe) {
    return !bytes.empty() && count > 0 && count <= universe && count <= (bytes.size() - 1) * 8 &&
           std::to_integer<unsigned>(bytes[0]) <= kRiceMax;
}

template <class Take>
bool decode(Bytes bytes, std::uint64_t count, std::uint64_t universe, const Take& take) {
    const auto k = std::to_integer<unsigned>(bytes[0]);
    BitReader reader(bytes.subspan(1));
    std::uint64_t next = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto value = next + reader.rice(k);
        if (value >= universe) [[unlikely]] {
            return false;
        }
        take(value);
        next = value + 1;
    }
    return !reader.overran() && reader.bytes_read() == bytes.size() - 1;
}

}  // namespace

void append_varint(ByteBuffer& out, std::uint64_t value) {
    while (value >= 0x80) {
        out.push_back(static_cast<std::byte>(value | 0x80U));
        value >>= 7U;
    }
    out.push_back(static_cast<std::byte>(value));
}

void append_text(ByteBuffer& out, std::string_view text) {
    append_varint(out, text.size());
    append_bytes(out, as_bytes(text));
}

std::uint64_t ByteReader::varint(std::uint64_t value_max) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && left() > 0; shift += 7) {
        const auto byte = std::to_integer<std::uint64_t>(bytes_[at_++]);
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (byte & 0x7fU) << shift;
        if (byte < 0x80) {
            // One number has one form: a zero at the end would be another.
            if ((byte == 0 && shift > 0) || value > value_max) {
                break;
            }
            return value;
        }
    }
    ok_ = false;
    return 0;
}

Bytes ByteReader::take(std::uint64_t size) {
    if (size > left()) {
        ok_ = false;
        return {};
    }
    at_ += size;
    return bytes_.subspan(at_ - size, size);
}

std::uint8_t ByteReader::u8() {
    const auto bytes = take(1);
    return ok_ ? std::to_integer<std::uint8_t>(bytes[0]) : 0;
}

std::uint32_t ByteReader::u32() {
    const auto bytes = take(4);
    return ok_ ? load_le<std::uint32_t>(bytes, 0) : 0;
}

std::uint64_t ByteReader::u64() {
    const auto bytes = take(8);
    return ok_ ? load_le<std::uint64_t>(bytes, 0) : 0;
}

std::string_view ByteReader::text(std::uint64_t bytes_max) {
    const auto size = varint(bytes_max);
    return as_text(take(size));
}

void BitWriter::put(std::uint64_t value, unsigned bits) {
    pending_ |= value << pending_bits_;
    pending_bits_ += bits;
    while (pending_bits_ >= 8) {
        out_.push_back(static_cast<std::byte>(pending_));
        pending_ >>= 8U;
        pending_bits_ -= 8;
    }
}

void BitWriter::put_unary(std::uint64_t zeros) {
    for (; zeros >= 48; zeros -= 48) {
        put(0, 48);
    }
    put(std::uint64_t{1} << zeros, static_cast<unsigned>(zeros) + 1);
}

void BitWriter::flush() {
    if (pending_bits_ > 0) {
        put(0, 8 - pending_bits_);
    }
}

std::uint64_t BitReader::long_rice(unsigned k) {
    const auto end = std::uint64_t{bytes_.size()} * 8;
    std::uint64_t zeros = 0;
    for (;;) {
        const auto word = window();
        if (word != 0) {
            const auto more = static_cast<unsigned>(__builtin_ctzll(word));
            zeros += more;
            at_ += more + 1;
            if (zeros >> 32U != 0) {
                at_ = end + 1;
                return 0;
            }
            break;
        }
        // The window has no one in its last bits that are certain to be there.
        zeros += 57;
        at_ += 57;
        if (at_ >= end) {
            at_ = end + 1;
            return 0;
        }
    }
    return zeros << k | take(k);
}

unsigned rice_parameter(double mean) {
    // The best k for geometric gaps: 2^k next to mean * ln 2.
    const auto target = mean * 0.693;
    return target < 1 ? 0
                      : std::min(kRiceMax, static_cast<unsigned>(std::lround(std::log2(target))));
}

void append_ascending(ByteBuffer& out, std::span<const std::uint32_t> ascending) {
    MS_ASSERT(!ascending.empty());
    auto k = rice_parameter((ascending.back() + 1.0) / static_cast<double>(ascending.size()));
    auto bits = rice_bits(ascending, k);
    while (k > 0) {
        // Numbers in clusters want a smaller one than even gaps.
        const auto fewer = rice_bits(ascending, k - 1);
        if (fewer >= bits) {
            break;
        }
        bits = fewer;
        --k;
    }
    out.push_back(static_cast<std::byte>(k));
    BitWriter writer(out);
    std::uint32_t next = 0;
    for (const auto value : ascending) {
        const auto gap = value - next;
        writer.put_unary(gap >> k);
        writer.put(gap & ((std::uint32_t{1} << k) - 1), k);
        next = value + 1;
    }
    writer.flush();
}

double spread_bytes(std::uint64_t count, std::uint64_t universe) {
    if (count == 0) {
        return 0;
    }
    const auto mean = static_cast<double>(universe) / static_cast<double>(count);
    return 3 + static_cast<double>(count) * (std::log2(mean) + 1.5) / 8;
}

bool read_ascending(Bytes bytes,
                    std::uint64_t count,
                    std::uint64_t universe,
                    std::vector<std::uint32_t>& out) {
    if (!may_hold(bytes, count, universe)) {
        return false;
    }
    const auto base = out.size();
    out.resize(base + count);
    auto* at = out.data() + base;
    return decode(bytes, count, universe, [&](std::uint64_t value) {
        *at++ = static_cast<std::uint32_t>(value);
    });
}

bool read_ascending_bits(Bytes bytes,
                         std::uint64_t count,
                         std::uint64_t universe,
                         std::span<std::uint64_t> bits) {
    MS_ASSERT(universe <= std::uint64_t{bits.size()} * 64);
    auto* words = bits.data();
    return may_hold(bytes, count, universe) &&
           decode(bytes, count, universe, [=](std::uint64_t value) {
               words[value / 64] |= std::uint64_t{1} << value % 64;
           });
}

}  // namespace molesignal
