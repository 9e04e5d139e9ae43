#include "metadata/sql_connection.h"

#include "common/assert.h"

namespace molesignal {

const SqlRows::Value& SqlRows::at(std::size_t row, std::size_t column) const {
    MS_ASSERT(column < columns_);
    MS_ASSERT(row < size());
    return values_[row * columns_ + column];
}

bool SqlRows::is_null(std::size_t row, std::size_t column) const {
    return std::holds_alternative<std::monostate>(at(row, column));
}

std::int64_t SqlRows::integer(std::size_t row, std::size_t column) const {
    return optional_integer(row, column).value_or(0);
}

std::optional<std::int64_t> SqlRows::optional_integer(std::size_t row, std::size_t column) const {
    const auto& value = at(row, column);
    if (std::holds_alternative<std::monostate>(value)) {
        return std::nullopt;
    }
    const auto* number = std::get_if<std::int64_t>(&value);
    MS_ASSERT(number != nullptr);
    return *number;
}

const std::string& SqlRows::text(std::size_t row, std::size_t column) const {
    static const std::string kNothing;
    const auto& value = at(row, column);
    if (std::holds_alternative<std::monostate>(value)) {
        return kNothing;
    }
    const auto* text = std::get_if<std::string>(&value);
    MS_ASSERT(text != nullptr);
    return *text;
}

std::string SqlRows::take_text(std::size_t row, std::size_t column) {
    return std::move(const_cast<std::string&>(text(row, column)));  // NOLINT: `this` is mutable.
}

}  // namespace molesignal
