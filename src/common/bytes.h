#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/assert.h"

namespace molesignal {

/// Bytes that somebody else owns.
using Bytes = std::span<const std::byte>;
/// Writable bytes that somebody else owns.
using MutableBytes = std::span<std::byte>;
/// Owned bytes.
using ByteBuffer = std::vector<std::byte>;

/// Views text as bytes.
inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// Views bytes as text. The bytes need not be UTF-8.
inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

static_assert(std::endian::native == std::endian::little, "on-disk integers are little-endian");

/// Appends an unsigned integer, little-endian, to `out`.
template <std::unsigned_integral Integer>
void append_le(ByteBuffer& out, Integer value) {
    const auto at = out.size();
    out.resize(at + sizeof value);
    std::memcpy(out.data() + at, &value, sizeof value);
}

/// Appends raw bytes to `out`.
inline void append_bytes(ByteBuffer& out, Bytes bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}

/// Writes an unsigned integer, little-endian, at `offset`; there must be room.
template <std::unsigned_integral Integer>
void store_le(MutableBytes out, std::size_t offset, Integer value) {
    MS_ASSERT(offset <= out.size());
    MS_ASSERT(out.size() - offset >= sizeof value);
    std::memcpy(out.data() + offset, &value, sizeof value);
}

/// Reads an unsigned integer, little-endian, at `offset`; the caller has checked the size.
template <std::unsigned_integral Integer>
Integer load_le(Bytes in, std::size_t offset) {
    MS_ASSERT(offset <= in.size());
    MS_ASSERT(in.size() - offset >= sizeof(Integer));
    Integer value{};
    std::memcpy(&value, in.data() + offset, sizeof value);
    return value;
}

}  // namespace molesignal
