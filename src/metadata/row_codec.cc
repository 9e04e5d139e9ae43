#include "metadata/row_codec.h"

#include <bit>
#include <cstdint>

#include <fmt/format.h>
#include <simdjson.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr char kStatisticsVersion = 3;
/// Before row groups were recorded; 2 was before the footer's hash was.
constexpr char kStatisticsWithoutGroups = 1;

void append_varint(std::string& out, std::uint64_t value) {
    while (value >= 0x80) {
        out.push_back(static_cast<char>(value | 0x80U));
        value >>= 7U;
    }
    out.push_back(static_cast<char>(value));
}

/// Reads varints and texts from a view; `failed` stays set after the first fault.
class StatisticsReader {
public:
    explicit StatisticsReader(std::string_view bytes) : rest_(bytes) {}

    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
            const auto byte = static_cast<unsigned char>(rest_.front());
            rest_.remove_prefix(1);
            value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
            if (byte < 0x80) {
                return value;
            }
        }
        failed_ = true;
        return 0;
    }
    std::string text() {
        const auto size = varint();
        if (size > rest_.size()) {
            failed_ = true;
            return {};
        }
        std::string value(rest_.substr(0, size));
        rest_.remove_prefix(size);
        return value;
    }
    std::uint64_t fixed() {
        std::uint64_t value = 0;
        if (rest_.size() < sizeof value) {
            failed_ = true;
            return 0;
        }
        for (unsigned i = 0; i < sizeof value; ++i) {
            value |= static_cast<std::uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
        }
        rest_.remove_prefix(sizeof value);
        return value;
    }
    FieldId field() {
        const auto value = varint();
        failed_ = failed_ || value > INT32_MAX;
        return FieldId{static_cast<std::int32_t>(value)};
    }
    /// A count of things that take at least a byte each.
    std::size_t count() {
        const auto value = varint();
        failed_ = failed_ || value > rest_.size();
        return failed_ ? 0 : value;
    }
    bool failed() const { return failed_; }
    bool at_end() const { return rest_.empty(); }

private:
    std::string_view rest_;
    bool failed_ = false;
};

void append_json_text(std::string& out, std::string_view text) {
    out.push_back('"');
    for (const char character : text) {
        if (character == '"' || character == '\\') {
            out.push_back('\\');
            out.push_back(character);
        } else if (static_cast<unsigned char>(character) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(character));
        } else {
            out.push_back(character);
        }
    }
    out.push_back('"');
}

Error bad_json(std::string_view column, simdjson::error_code why) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("catalogue column {}: {}", column, simdjson::error_message(why)));
}

Result<std::vector<std::string>> read_names(simdjson::dom::element element,
                                            std::string_view column) {
    std::vector<std::string> names;
    simdjson::dom::array array;
    if (const auto failure = element.get_array().get(array)) {
        return bad_json(column, failure);
    }
    for (const auto item : array) {
        std::string_view name;
        if (const auto failure = item.get_string().get(name)) {
            return bad_json(column, failure);
        }
        names.emplace_back(name);
    }
    return names;
}

}  // namespace

std::string encode_statistics(const PartInfo& part) {
    std::string out(1, kStatisticsVersion);
    append_varint(out, part.fields.size());
    for (const auto field : part.fields) {
        MS_ASSERT(field.value >= 0);
        append_varint(out, static_cast<std::uint32_t>(field.value));
    }
    append_varint(out, part.zone_maps.size());
    for (const auto& zone : part.zone_maps) {
        MS_ASSERT(zone.field.value >= 0);
        append_varint(out, static_cast<std::uint32_t>(zone.field.value));
        append_varint(out, static_cast<std::uint64_t>(zone.null_count));
        append_varint(out, zone.min.size());
        out += zone.min;
        append_varint(out, zone.max.size());
        out += zone.max;
    }
    append_varint(out, part.row_groups.size());
    for (const auto& group : part.row_groups) {
        append_varint(out, static_cast<std::uint64_t>(group.rows));
        append_varint(out, static_cast<std::uint64_t>(group.byte_end));
    }
    for (unsigned shift = 0; shift < 64; shift += 8) {
        out.push_back(static_cast<char>(part.footer_xxh3 >> shift & 0xffU));
    }
    return out;
}

Result<> decode_statistics(std::string_view text, PartInfo& part) {
    const auto version = text.empty() ? -1 : static_cast<int>(text.front());
    if (version < kStatisticsWithoutGroups || version > kStatisticsVersion) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("catalogue column statistics: version {} is unknown", version));
    }
    StatisticsReader reader(text.substr(1));
    const auto field_count = reader.count();
    part.fields.reserve(field_count);
    for (std::size_t i = 0; i < field_count && !reader.failed(); ++i) {
        part.fields.push_back(reader.field());
    }
    const auto zone_count = reader.count();
    part.zone_maps.reserve(zone_count);
    for (std::size_t i = 0; i < zone_count && !reader.failed(); ++i) {
        ZoneMap& zone = part.zone_maps.emplace_back();
        zone.field = reader.field();
        zone.null_count = static_cast<std::int64_t>(reader.varint());
        zone.min = reader.text();
        zone.max = reader.text();
    }
    const auto group_count = version == kStatisticsWithoutGroups ? 0 : reader.count();
    part.row_groups.reserve(group_count);
    for (std::size_t i = 0; i < group_count && !reader.failed(); ++i) {
        auto& group = part.row_groups.emplace_back();
        group.rows = static_cast<std::int64_t>(reader.varint());
        group.byte_end = static_cast<std::int64_t>(reader.varint());
    }
    part.footer_xxh3 = version == kStatisticsVersion ? reader.fixed() : 0;
    if (reader.failed() || !reader.at_end()) {
        return Error(ErrorCode::kCorruption, "catalogue column statistics: wrong length");
    }
    return {};
}

std::string encode_names(const std::vector<std::string>& names) {
    std::string out = "[";
    for (const auto& name : names) {
        if (out.size() > 1) {
            out.push_back(',');
        }
        append_json_text(out, name);
    }
    out.push_back(']');
    return out;
}

Result<std::vector<std::string>> decode_names(std::string_view json) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (const auto failure = parser.parse(json.data(), json.size()).get(root)) {
        return bad_json("object_keys", failure);
    }
    return read_names(root, "object_keys");
}

std::string encode_settings(const StreamSettings& settings) {
    std::string out = "{";
    if (settings.retention_days.has_value()) {
        out += fmt::format(R"("retention_days":{},)", *settings.retention_days);
    }
    out += R"("full_text_fields":)" + encode_names(settings.full_text_fields);
    // Pairs, not an object: the order is kept.
    out += R"(,"pinned_types":[)";
    bool first = true;
    for (const auto& [name, type] : settings.pinned_types) {
        out += first ? "[" : ",[";
        first = false;
        append_json_text(out, name);
        out.push_back(',');
        append_json_text(out, field_type_name(type));
        out.push_back(']');
    }
    out += "]}";
    return out;
}

Result<StreamSettings> decode_settings(std::string_view json) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (const auto failure = parser.parse(json.data(), json.size()).get(root)) {
        return bad_json("settings", failure);
    }
    StreamSettings settings;
    std::int64_t days = 0;
    if (root["retention_days"].get_int64().get(days) == simdjson::SUCCESS) {
        settings.retention_days = static_cast<std::int32_t>(days);
    }
    simdjson::dom::element element;
    if (const auto failure = root["full_text_fields"].get(element)) {
        return bad_json("settings", failure);
    }
    MS_TRY(settings.full_text_fields, read_names(element, "settings"));
    simdjson::dom::array pairs;
    if (const auto failure = root["pinned_types"].get_array().get(pairs)) {
        return bad_json("settings", failure);
    }
    for (const auto pair : pairs) {
        MS_TRY(auto names, read_names(pair, "settings"));
        if (names.size() != 2) {
            return Error(ErrorCode::kCorruption,
                         "catalogue column settings: a pinned type needs a name and a type");
        }
        MS_TRY(const auto type, parse_field_type(names[1]));
        settings.pinned_types.emplace_back(std::move(names[0]), type);
    }
    return settings;
}

}  // namespace molesignal
