#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/assert.h"
#include "common/mutex.h"
#include "model/field_type.h"

namespace molesignal {

/// The values of one (field, type) in a batch of rows. A row without a value is null.
///
/// Only present values take space: fixed-width types keep eight bytes each in `fixed_values` (bool
/// as 0/1, double by its bits), text types keep `ends` (end of the value's bytes in `text_bytes`).
/// Which rows are present is in `valid_bits`, a bit a row, empty if all are. One thread at a time.
class BatchColumn {
public:
    BatchColumn(std::string name, FieldType type) : name_(std::move(name)), type_(type) {}

    const std::string& name() const MS_LIFETIMEBOUND { return name_; }
    FieldType type() const { return type_; }
    /// Rows covered so far; later rows of the batch are null until pad_to.
    std::uint32_t rows() const { return rows_; }
    std::uint32_t null_count() const { return null_count_; }
    /// How many rows have a value.
    std::uint32_t value_count() const { return rows_ - null_count_; }

    /// Appends the value of row `row`, ≥ rows(); rows between are null.
    void append_fixed(std::uint32_t row, std::uint64_t bits) {
        pad_to(row);
        fixed_.push_back(bits);
        finish_value();
    }
    /// The column's text stays below 4 GiB: the caller ends a batch long before.
    void append_text(std::uint32_t row, std::string_view value) {
        pad_to(row);
        text_.append(value);
        ends_.push_back(static_cast<std::uint32_t>(text_.size()));
        finish_value();
    }
    /// Takes the last value back if it belongs to `row` (of duplicate keys the last wins).
    bool drop_last_if(std::uint32_t row);
    /// Makes rows up to `row` (exclusive) null.
    void pad_to(std::uint32_t row) {
        if (rows_ < row) {
            pad_slow(row);
        }
    }
    /// Undoes everything from row `row` on.
    void truncate(std::uint32_t row);

    bool is_null(std::uint32_t row) const {
        return null_count_ != 0 && (valid_[row >> 6U] >> (row & 63U) & 1U) == 0;
    }
    /// Number of values before `row`: where the value of `row` is, if it has one.
    std::uint32_t value_index(std::uint32_t row) const;
    std::uint64_t fixed(std::uint32_t row) const { return fixed_[value_index(row)]; }
    std::string_view text(std::uint32_t row) const { return text_at(value_index(row)); }
    /// The text of the value with this index.
    std::string_view text_at(std::uint32_t index) const {
        const auto begin = index == 0 ? 0 : ends_[index - 1];
        return std::string_view(text_).substr(begin, ends_[index] - begin);
    }

    /// Raw parts, for codecs and bulk copies; the first three by value, not by row.
    const std::vector<std::uint64_t>& fixed_values() const { return fixed_; }
    const std::vector<std::uint32_t>& ends() const { return ends_; }
    const std::string& text_bytes() const { return text_; }
    const std::vector<std::uint64_t>& valid_bits() const { return valid_; }
    /// Builds a column from raw parts that the caller has checked.
    static BatchColumn from_parts(std::string name,
                                  FieldType type,
                                  std::uint32_t rows,
                                  std::uint32_t null_count,
                                  std::vector<std::uint64_t> valid,
                                  std::vector<std::uint64_t> fixed,
                                  std::vector<std::uint32_t> ends,
                                  std::string text);
    std::size_t capacity_bytes() const {
        return fixed_.capacity() * 8 + ends_.capacity() * 4 + text_.capacity() +
               valid_.capacity() * 8;
    }

private:
    void pad_slow(std::uint32_t row);
    void finish_value() {
        if (null_count_ != 0) {
            set_valid(rows_);
        }
        ++rows_;
    }
    void set_valid(std::uint32_t row);

    std::string name_;
    FieldType type_;
    std::uint32_t rows_ = 0;
    std::uint32_t null_count_ = 0;
    std::vector<std::uint64_t> valid_;
    std::vector<std::uint64_t> fixed_;
    std::vector<std::uint32_t> ends_;
    std::string text_;
};

/// Rows of one request for one stream, column by column; a large request has several batches. A
/// field that came with two types has two columns. Built by one thread, then read by many.
struct RowBatch {
    /// Per row: nanoseconds since 1970 UTC; the columns `_timestamp` and `_timestamp_nanos`.
    std::vector<std::int64_t> timestamps;
    std::vector<BatchColumn> columns;

    std::uint32_t rows() const { return static_cast<std::uint32_t>(timestamps.size()); }
    /// Index of the column (name, type), or -1.
    int find(std::string_view name, FieldType type) const;
    /// Index of the column, made if missing.
    std::size_t find_or_add(std::string_view name, FieldType type);
    /// Pads every column with nulls to rows().
    void finish();
    std::size_t capacity_bytes() const;
};

}  // namespace molesignal
