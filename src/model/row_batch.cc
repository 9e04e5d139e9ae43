#include "model/row_batch.h"

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
        valid_.assign((row >> 6U) + 1, 0);
        for (std::uint32_t i = 0; i < rows_; ++i) {
            set_valid(i);
        }
    }
    null_count_ += row - rows_;
    if (valid_.size() <= row >> 6U) {
        valid_.resize((row >> 6U) + 1, 0);
    }
    if (is_variable_width(type_)) {
        ends_.resize(row, static_cast<std::uint32_t>(text_.size()));
    } else {
        fixed_.resize(row, 0);
    }
    rows_ = row;
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
    for (auto i = row; i < rows_ && null_count_ != 0; ++i) {
        if (is_null(i)) {
            --null_count_;
        } else {
            valid_[i >> 6U] &= ~(std::uint64_t{1} << (i & 63U));
        }
    }
    if (is_variable_width(type_)) {
        text_.resize(row == 0 ? 0 : ends_[row - 1]);
        ends_.resize(row);
    } else {
        fixed_.resize(row);
    }
    rows_ = row;
    if (null_count_ == 0) {
        valid_.clear();
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
    MS_ASSERT((is_variable_width(type) ? column.ends_.size() : column.fixed_.size()) == rows);
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
