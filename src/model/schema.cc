#include "model/schema.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include <fmt/format.h>

namespace molesignal {
namespace {

std::string lower_ascii(std::string_view text) {
    std::string lower(text);
    for (auto& character : lower) {
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    }
    return lower;
}

}  // namespace

std::string_view stream_type_name(StreamType type) {
    switch (type) {
        case StreamType::kLogs:
            return "logs";
        case StreamType::kMetrics:
            return "metrics";
        case StreamType::kTraces:
            return "traces";
    }
    return "unknown";
}

Result<StreamType> parse_stream_type(std::string_view name) {
    for (const auto type : {StreamType::kLogs, StreamType::kMetrics, StreamType::kTraces}) {
        if (name == stream_type_name(type)) {
            return type;
        }
    }
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("unknown stream type '{}': want logs, metrics or traces", name));
}

const FieldVariant* StreamSchema::find(std::string_view name, FieldType type) const {
    const auto found = std::ranges::find_if(variants, [&](const FieldVariant& variant) {
        return variant.type == type && variant.name == name;
    });
    return found == variants.end() ? nullptr : &*found;
}

std::vector<LogicalField> StreamSchema::logical_fields() const {
    std::vector<LogicalField> fields;
    std::map<std::string, std::size_t, std::less<>> by_name;
    std::set<std::string> taken;
    for (const auto name : {kTimestampField,
                            kTimestampNanosField,
                            kShardField,
                            kPositionField,
                            kEventIdField,
                            kExtraField}) {
        taken.insert(std::string(name));
    }
    for (const auto& variant : variants) {
        const auto [at, is_new] = by_name.try_emplace(variant.name, fields.size());
        if (is_new) {
            auto sql_name = variant.name;
            for (int suffix = 2; !taken.insert(lower_ascii(sql_name)).second; ++suffix) {
                sql_name = fmt::format("{}__{}", variant.name, suffix);
            }
            fields.push_back({.name = variant.name,
                              .sql_name = std::move(sql_name),
                              .type = variant.type,
                              .variants = {}});
        }
        fields[at->second].variants.push_back(variant);
    }
    for (auto& field : fields) {
        std::vector<TypeVariant> types;
        for (const auto& variant : field.variants) {
            types.push_back({.type = variant.type, .inexact_as_float = variant.inexact_as_float});
        }
        field.type = widened_type(types);
    }
    return fields;
}

bool is_reserved_field(std::string_view name) {
    constexpr std::array kReserved = {kTimestampField,
                                      kTimestampNanosField,
                                      kShardField,
                                      kPositionField,
                                      kEventIdField,
                                      kExtraField};
    return !name.empty() && name.front() == '_' &&
           std::ranges::find(kReserved, lower_ascii(name)) != kReserved.end();
}

Result<> check_stream_name(std::string_view name) {
    constexpr std::size_t kNameBytesMax = 255;
    const bool good =
        !name.empty() && name.size() <= kNameBytesMax && std::ranges::all_of(name, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '_' || c == '.' || c == '-';
        });
    if (!good) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("stream name '{}' is not of the form [A-Za-z0-9_.-]{{1,255}}",
                                 name.substr(0, 300)));
    }
    return {};
}

}  // namespace molesignal
