#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace molesignal {

/// Ends the run with a message: the input broke a property.
inline void require(bool holds, const char* property) {
    if (!holds) {
        std::fprintf(stderr, "property broken: %s\n", property);
        std::abort();
    }
}

/// The bytes of something that hands them out in pieces.
template <class Encoded>
ByteBuffer joined(const Encoded& encoded) {
    ByteBuffer bytes;
    for (const auto piece : encoded.pieces()) {
        append_bytes(bytes, piece);
    }
    return bytes;
}

/// Takes small choices off the front of an input, the rest is the content.
class FuzzInput {
public:
    FuzzInput(const std::uint8_t* data, std::size_t size)
        : text_(reinterpret_cast<const char*>(data), size) {}
    std::uint8_t byte() {
        if (text_.empty()) {
            return 0;
        }
        const auto value = static_cast<std::uint8_t>(text_.front());
        text_.remove_prefix(1);
        return value;
    }
    std::uint32_t number() {
        std::uint32_t value = 0;
        for (int i = 0; i < 4; ++i) {
            value = value << 8U | byte();
        }
        return value;
    }
    bool empty() const { return text_.empty(); }
    std::string_view rest() const { return text_; }
    Bytes rest_bytes() const { return as_bytes(text_); }

private:
    std::string_view text_;
};

}  // namespace molesignal
