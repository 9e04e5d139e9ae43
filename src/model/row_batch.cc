#include "model/row_batch.h"

#include <bit>

namespace molesignal {

void BatchColumn::set_valid(std::uint32_t row) {
    if (valid_.size() <= row >> 6U) {
        valid_.resize((row >> 6U) + 1, 0);
    }
    valid_[row >> 6U] |= std::uint64_t{1} << (row & 63U);
}

void BatchColumn::pad_slow(std::uint32_t row) {
    if (null_count_ == 0) {
        // First null: everything before is valid.
        valid_.assign(rows_ >> 6U, ~std::uint64_t{0});
        if ((rows_ & 63U) != 0) {
            valid_.push_back((std::uint64_t{1} << (rows_ & 63U)) - 1);
        }
    }
    null_count_ += row - rows_;
    valid_.resize((std::size_t{row} + 63) >> 6U, 0);
    rows_ = row;
}

std::uint32_t BatchColumn::value_index(std::uint32_t row) const {
    if (null_count_ == 0) {
        return row;
    }
    std::uint32_t count = 0;
    for (std::uint32_t word = 0; word < row >> 6U; ++word) {
        count += static_cast<std::uint32_t>(std::popcount(valid_[word]));
    }
    if ((row & 63U) != 0) {
        const auto below = (std::uint64_t{1} << (row & 63U)) - 1;
        count += static_cast<std::uint32_t>(std::popcount(valid_[row >> 6U] & below));
    }
    return count;
}

bool BatchColumn::drop_last_if(std::uint32_t row) {
    if (rows_ != row + 1 || is_null(row)) {
        return false;
    }
    truncate(row);
    return true;
}

void BatchColumn::truncate(std::uint32_t row) {
    if (rows_ <= row) {
        return;
    }
    const auto values = row + 1 == rows_ && !is_null(row) ? value_count() - 1 : value_index(row);
    if (is_variable_width(type_)) {
        text_.resize(values == 0 ? 0 : ends_[values - 1]);
        ends_.resize(values);
    } else {
        fixed_.resize(values);
    }
    rows_ = row;
    null_count_ = row - values;
    if (null_count_ == 0) {
        valid_.clear();
        return;
    }
    valid_.resize((std::size_t{row} + 63) >> 6U);
    if ((row & 63U) != 0) {
        valid_.back() &= (std::uint64_t{1} << (row & 63U)) - 1;
    }
}

BatchColumn BatchColumn::from_parts(std::string name,
                                    FieldType type,
                                    std::uint32_t rows,
                                    std::uint32_t null_count,
                                    std::vector<std::uint64_t> valid,
                                    std::vector<std::uint64_t> fixed,
                                    std::vector<std::uint32_t> ends,
                                    std::string text) {
    BatchColumn column(std::move(name), type);
    column.rows_ = rows;
    column.null_count_ = null_count;
    column.valid_ = std::move(valid);
    column.fixed_ = std::move(fixed);
    column.ends_ = std::move(ends);
    column.text_ = std::move(text);
    MS_ASSERT((is_variable_width(type) ? column.ends_.size() : column.fixed_.size()) ==
              rows - null_count);
    MS_ASSERT(null_count == 0 || column.valid_.size() * 64 >= rows);
    return column;
}

int RowBatch::find(std::string_view name, FieldType type) const {
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (columns[i].type() == type && columns[i].name() == name) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

std::size_t RowBatch::find_or_add(std::string_view name, FieldType type) {
    const auto found = find(name, type);
    if (found >= 0) {
        return static_cast<std::size_t>(found);
    }
    columns.emplace_back(std::string(name), type);
    return columns.size() - 1;
}

void RowBatch::finish() {
    for (auto& column : columns) {
        column.pad_to(rows());
    }
}

std::size_t RowBatch::capacity_bytes() const {
    auto bytes = timestamps.capacity() * sizeof(std::int64_t);
    for (const auto& column : columns) {
        bytes += column.capacity_bytes();
    }
    return bytes;
}

}  // namespace molesignal
