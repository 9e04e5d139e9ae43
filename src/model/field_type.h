#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "common/result.h"

namespace molesignal {

/// The types of a field. The values reach disk: never reuse one.
enum class FieldType : std::uint8_t {
    kBool = 1,
    kInt64 = 2,
    kUint64 = 3,  ///< JSON integers above 2^63 - 1.
    kFloat64 = 4,
    kString = 5,
    kTimestamp = 6,  ///< Nanoseconds since 1970 UTC.
    kBytes = 7,
    kJson = 8,  ///< Text of a JSON array or of an object beyond the depth limit.
};

/// Whether values are kept as text or bytes (kString, kBytes, kJson) rather than in eight bytes.
constexpr bool is_variable_width(FieldType type) {
    return type == FieldType::kString || type == FieldType::kBytes || type == FieldType::kJson;
}

/// "bool", "int64", …
std::string_view field_type_name(FieldType type);
Result<FieldType> parse_field_type(std::string_view name);
/// From disk: kCorruption if unknown.
Result<FieldType> decode_field_type(std::uint8_t raw);

/// One type that a field was seen with.
struct TypeVariant {
    FieldType type = FieldType::kString;
    /// kInt64, kUint64: a value was seen that float64 cannot hold exactly.
    bool inexact_as_float = false;
};

/// The type that SQL sees for a field with these variants (at least one).
///
/// Depends on the set only, so the order of arrival does not matter: one type stays itself; numbers
/// become float64 if every integer seen is exact as one, else string; anything else becomes string,
/// holding the canonical JSON literal.
FieldType widened_type(std::span<const TypeVariant> variants);

}  // namespace molesignal
