#include "query/sql/part_pruning.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include <duckdb/common/types/timestamp.hpp>

namespace molesignal {
namespace {

using Comparison = ScanCondition::Comparison;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(
        a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// Whether a value in [min, max] can compare so with `constant`.
template <class Value>
bool possible(const Value& min, const Value& max, Comparison comparison, const Value& constant) {
    switch (comparison) {
        case Comparison::kEqual:
            return min <= constant && constant <= max;
        case Comparison::kLess:
            return min < constant;
        case Comparison::kLessEqual:
            return min <= constant;
        case Comparison::kGreater:
            return max > constant;
        case Comparison::kGreaterEqual:
            return max >= constant;
    }
    return true;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
    Number number{};
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

template <class Number>
bool possible_number(const ZoneMap& zone, const ScanCondition& condition) {
    const auto min = parse_number<Number>(zone.min);
    const auto max = parse_number<Number>(zone.max);
    const auto constant = parse_number<Number>(condition.constant);
    return !min.has_value() || !max.has_value() || !constant.has_value() ||
           possible(*min, *max, condition.comparison, *constant);
}

bool possible_time(const PartInfo& part, const ScanCondition& condition) {
    if (!condition.is_text) {
        return true;
    }
    duckdb::timestamp_t stamp;
    if (duckdb::Timestamp::TryConvertTimestamp(
            condition.constant.data(), condition.constant.size(), stamp, true) !=
        duckdb::TimestampCastResult::SUCCESS) {
        return true;
    }
    return possible(part.time_min_us, part.time_max_us, condition.comparison, stamp.value);
}

bool possible_field(const PartInfo& part,
                    const StreamSchema& schema,
                    const ScanCondition& condition) {
    const FieldVariant* variant = nullptr;
    for (const auto& candidate : schema.variants) {
        if (!equal_ignoring_case(candidate.name, condition.column)) {
            continue;
        }
        if (variant != nullptr) {
            return true;  // Several types, or names that differ in case: no conclusion.
        }
        variant = &candidate;
    }
    if (variant == nullptr) {
        return true;
    }
    const auto zone = std::ranges::find(part.zone_maps, variant->id, &ZoneMap::field);
    if (zone == part.zone_maps.end()) {
        // A comparison is never true of NULL, and a part without the field has only NULLs.
        return std::ranges::find(part.fields, variant->id) != part.fields.end();
    }
    if (variant->type == FieldType::kString) {
        return !condition.is_text ||
               possible<std::string_view>(
                   zone->min, zone->max, condition.comparison, condition.constant);
    }
    if (condition.is_text) {
        return true;
    }
    switch (variant->type) {
        case FieldType::kInt64:
            return possible_number<std::int64_t>(*zone, condition);
        case FieldType::kUint64:
            return possible_number<std::uint64_t>(*zone, condition);
        case FieldType::kFloat64:
            return possible_number<double>(*zone, condition);
        default:
            return true;
    }
}

}  // namespace

bool may_hold(const PartInfo& part,
              const StreamSchema& schema,
              const std::vector<ScanCondition>& conditions) {
    return std::ranges::all_of(conditions, [&](const ScanCondition& condition) {
        return equal_ignoring_case(condition.column, kTimestampField)
                   ? possible_time(part, condition)
                   : possible_field(part, schema, condition);
    });
}

}  // namespace molesignal
