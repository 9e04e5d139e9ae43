#include "ingest/json_repair.h"

#include <charconv>
#include <cstddef>
#include <cstdint>

#include <fmt/format.h>

#include "common/utf8.h"

namespace molesignal {
namespace {

constexpr std::size_t kEscapeSize = 6;  // \uXXXX

/// The code unit of the escape at `at`; 0 if there is none.
std::uint32_t code_unit(std::string_view text, std::size_t at) {
    std::uint32_t unit = 0;
    if (at + kEscapeSize > text.size() || text[at] != '\\' || text[at + 1] != 'u') {
        return 0;
    }
    const auto* begin = text.data() + at + 2;
    const auto parsed = std::from_chars(begin, begin + 4, unit, 16);
    return parsed.ec == std::errc{} && parsed.ptr == begin + 4 ? unit : 0;
}

bool is_high(std::uint32_t unit) {
    return unit >= 0xd800 && unit < 0xdc00;
}
bool is_low(std::uint32_t unit) {
    return unit >= 0xdc00 && unit < 0xe000;
}

/// Copies the escape sequence at `at`, a half surrogate pair as U+FFFD; returns where it ends.
std::size_t copy_escape(std::string_view text, std::size_t at, std::string& out) {
    const auto unit = code_unit(text, at);
    if (is_high(unit) && is_low(code_unit(text, at + kEscapeSize))) {
        out += text.substr(at, 2 * kEscapeSize);
        return at + 2 * kEscapeSize;
    }
    if (is_high(unit) || is_low(unit)) {
        out += "\\ufffd";
        return at + kEscapeSize;
    }
    out += text.substr(at, 2);
    return at + 2;
}

}  // namespace

std::string repair_json(std::string_view json) {
    const auto text = repair_utf8(json);
    std::string out;
    out.reserve(text.size());
    bool in_string = false;
    for (std::size_t at = 0; at < text.size();) {
        const char character = text[at];
        if (in_string && character == '\\') {
            at = copy_escape(text, at, out);
            continue;
        }
        if (character == '"') {
            in_string = !in_string;
        }
        if (in_string && static_cast<unsigned char>(character) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(character));
        } else {
            out.push_back(character);
        }
        ++at;
    }
    return out;
}

}  // namespace molesignal
