#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/field_type.h"
#include "parquet/part_writer.h"

namespace molesignal {

/// The smallest and largest value of one field, and how many values and nulls there are. One thread
/// at a time.
class ZoneBounds {
public:
    explicit ZoneBounds(FieldType type) : type_(type) {}

    /// A value of eight bytes, as HotColumnView::fixed has it.
    void add_number(std::uint64_t bits) {
        if (type_ == FieldType::kFloat64) {
            has_nan_ = has_nan_ || std::isnan(std::bit_cast<double>(bits));
        }
        if (values_++ == 0) {
            min_bits_ = bits;
            max_bits_ = bits;
            return;
        }
        min_bits_ = less(bits, min_bits_) ? bits : min_bits_;
        max_bits_ = less(max_bits_, bits) ? bits : max_bits_;
    }
    /// `value` must stay where it is until the bounds are merged into others.
    void add_text(std::string_view value) {
        ++values_;
        cover_text(value);
    }
    /// A text that some rows have, without counting them.
    void cover_text(std::string_view value) {
        if (!has_text_) {
            has_text_ = true;
            min_text_ = value;
            max_text_ = value;
        } else if (value < min_text_) {
            min_text_ = value;
        } else if (value > max_text_) {
            max_text_ = value;
        }
    }
    void add_values(std::uint64_t count) { values_ += count; }
    void add_nulls(std::uint64_t count) { nulls_ += count; }

    /// Takes the bounds of other rows in; texts are copied.
    void merge(const ZoneBounds& other);

    /// The bounds as the catalogue has them; false if there are none (all null, NaN, bytes, JSON,
    /// no text above the largest).
    bool zone(FieldId field, WrittenZone& zone) const;

private:
    bool less(std::uint64_t a, std::uint64_t b) const {
        switch (type_) {
            case FieldType::kFloat64:
                return std::bit_cast<double>(a) < std::bit_cast<double>(b);
            case FieldType::kUint64:
                return a < b;
            default:
                return static_cast<std::int64_t>(a) < static_cast<std::int64_t>(b);
        }
    }

    FieldType type_;
    std::uint64_t values_ = 0;
    std::uint64_t nulls_ = 0;
    bool has_nan_ = false;
    std::uint64_t min_bits_ = 0;
    std::uint64_t max_bits_ = 0;
    bool has_text_ = false;
    std::string_view min_text_;
    std::string_view max_text_;
    std::string own_min_;  ///< What min_text_ views after a merge.
    std::string own_max_;
};

}  // namespace molesignal
