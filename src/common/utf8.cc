#include "common/utf8.h"

#include <cstddef>

namespace molesignal {
namespace {

/// What may follow a leading byte: how many bytes, and the bounds of the first of them.
struct Following {
    std::size_t count = 0;  ///< 0: not a leading byte.
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
};

Following following_of(unsigned char lead) {
    if (lead >= 0xc2 && lead <= 0xdf) {
        return {.count = 1};
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        // No overlong forms, no surrogates.
        return {.count = 2,
                .low = static_cast<unsigned char>(lead == 0xe0 ? 0xa0 : 0x80),
                .high = static_cast<unsigned char>(lead == 0xed ? 0x9f : 0xbf)};
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        return {.count = 3,
                .low = static_cast<unsigned char>(lead == 0xf0 ? 0x90 : 0x80),
                .high = static_cast<unsigned char>(lead == 0xf4 ? 0x8f : 0xbf)};
    }
    return {};
}

}  // namespace

std::string repair_utf8(std::string_view text) {
    constexpr std::string_view kReplacement = "\xef\xbf\xbd";
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto lead = static_cast<unsigned char>(text[at]);
        if (lead < 0x80) {
            out.push_back(text[at++]);
            continue;
        }
        const auto wanted = following_of(lead);
        auto end = at + 1;
        auto low = wanted.low;
        auto high = wanted.high;
        while (end - at <= wanted.count && end < text.size()) {
            const auto byte = static_cast<unsigned char>(text[end]);
            if (byte < low || byte > high) {
                break;
            }
            low = 0x80;
            high = 0xbf;
            ++end;
        }
        const bool whole = wanted.count > 0 && end - at == wanted.count + 1;
        out += whole ? text.substr(at, end - at) : kReplacement;
        at = end;
    }
    return out;
}

}  // namespace molesignal
