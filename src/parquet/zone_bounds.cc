#include "parquet/zone_bounds.h"

#include <fmt/format.h>

namespace molesignal {
namespace {

constexpr std::size_t kZoneBytes = 64;

/// `value` cut to at most kZoneBytes, between two characters.
std::string_view cut_text(std::string_view value) {
    if (value.size() <= kZoneBytes) {
        return value;
    }
    auto size = kZoneBytes;
    while (size > 0 && (static_cast<unsigned char>(value[size]) & 0xc0U) == 0x80U) {
        --size;
    }
    return value.substr(0, size);
}

void append_utf8(std::string& out, std::uint32_t character) {
    if (character < 0x80) {
        out.push_back(static_cast<char>(character));
    } else if (character < 0x800) {
        out.push_back(static_cast<char>(0xc0U | character >> 6U));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    } else if (character < 0x10000) {
        out.push_back(static_cast<char>(0xe0U | character >> 12U));
        out.push_back(static_cast<char>(0x80U | (character >> 6U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    } else {
        out.push_back(static_cast<char>(0xf0U | character >> 18U));
        out.push_back(static_cast<char>(0x80U | (character >> 12U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character >> 6U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    }
}

/// Takes the last character of valid UTF-8 off.
std::uint32_t take_last(std::string& text) {
    auto at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U) {
        --at;
    }
    const auto bytes = text.size() - at;
    auto character = static_cast<std::uint32_t>(static_cast<unsigned char>(text[at]));
    character &= bytes == 1 ? 0x7fU : 0xffU >> (bytes + 1);
    for (auto i = at + 1; i < text.size(); ++i) {
        character = character << 6U | (static_cast<unsigned char>(text[i]) & 0x3fU);
    }
    text.resize(at);
    return character;
}

/// The text, or if it is too long a shorter one that is above every text with the same beginning;
/// false if there is none.
bool round_up(std::string& value) {
    if (value.size() <= kZoneBytes) {
        return true;
    }
    value.resize(cut_text(value).size());
    while (!value.empty()) {
        const auto last = take_last(value);
        if (last < 0x10ffff) {
            // The surrogates are no characters.
            append_utf8(value, last == 0xd7ff ? 0xe000 : last + 1);
            return true;
        }
    }
    return false;
}

}  // namespace

void ZoneBounds::merge(const ZoneBounds& other) {
    if (other.values_ > 0 && !is_variable_width(type_)) {
        if (values_ == 0) {
            min_bits_ = other.min_bits_;
            max_bits_ = other.max_bits_;
        } else {
            min_bits_ = less(other.min_bits_, min_bits_) ? other.min_bits_ : min_bits_;
            max_bits_ = less(max_bits_, other.max_bits_) ? other.max_bits_ : max_bits_;
        }
    }
    if (other.has_text_) {
        if (!has_text_ || other.min_text_ < min_text_) {
            own_min_ = other.min_text_;
            min_text_ = own_min_;
        }
        if (!has_text_ || other.max_text_ > max_text_) {
            own_max_ = other.max_text_;
            max_text_ = own_max_;
        }
        has_text_ = true;
    }
    values_ += other.values_;
    nulls_ += other.nulls_;
    has_nan_ = has_nan_ || other.has_nan_;
}

bool ZoneBounds::zone(FieldId field, WrittenZone& zone) const {
    if (values_ == 0 || has_nan_ || type_ == FieldType::kBytes || type_ == FieldType::kJson) {
        return false;
    }
    zone.field = field;
    zone.null_count = nulls_;
    if (is_variable_width(type_)) {
        zone.min = std::string(cut_text(min_text_));
        zone.max = std::string(max_text_);
        return round_up(zone.max);
    }
    const auto number = [this](std::uint64_t bits) {
        switch (type_) {
            case FieldType::kUint64:
                return fmt::format("{}", bits);
            case FieldType::kFloat64:
                return fmt::format("{}", std::bit_cast<double>(bits));
            default:
                return fmt::format("{}", static_cast<std::int64_t>(bits));
        }
    };
    zone.min = number(min_bits_);
    zone.max = number(max_bits_);
    return true;
}

}  // namespace molesignal
