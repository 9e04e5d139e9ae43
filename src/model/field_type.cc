#include "model/field_type.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::array<std::string_view, 9> kNames = {
    "", "bool", "int64", "uint64", "float64", "string", "timestamp", "bytes", "json"};

}  // namespace

std::string_view field_type_name(FieldType type) {
    return kNames.at(static_cast<std::size_t>(type));
}

Result<FieldType> parse_field_type(std::string_view name) {
    for (std::size_t i = 1; i < kNames.size(); ++i) {
        if (kNames[i] == name) {
            return static_cast<FieldType>(i);
        }
    }
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("unknown field type '{}': want bool, int64, uint64, float64, string, "
                             "timestamp, bytes or json",
                             name));
}

Result<FieldType> decode_field_type(std::uint8_t raw) {
    if (raw == 0 || raw >= kNames.size()) {
        return Error(ErrorCode::kCorruption, fmt::format("unknown field type: {}", raw));
    }
    return static_cast<FieldType>(raw);
}

FieldType widened_type(std::span<const TypeVariant> variants) {
    MS_ASSERT(!variants.empty());
    const auto first = variants.front().type;
    if (std::ranges::all_of(variants, [first](const TypeVariant& v) { return v.type == first; })) {
        return first;
    }
    const bool numbers = std::ranges::all_of(variants, [](const TypeVariant& v) {
        return v.type == FieldType::kInt64 || v.type == FieldType::kUint64 ||
               v.type == FieldType::kFloat64;
    });
    const bool exact = std::ranges::none_of(variants, &TypeVariant::inexact_as_float);
    return numbers && exact ? FieldType::kFloat64 : FieldType::kString;
}

}  // namespace molesignal
