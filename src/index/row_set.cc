#include "index/row_set.h"

#include <algorithm>
#include <bit>

#include "common/assert.h"
#include "index/coding.h"

namespace molesignal {
namespace {

/// A list takes less memory than bits below one row in 32, and is faster to combine well below it.
constexpr std::uint64_t kRowsOfListEntry = 64;

std::size_t words_of(std::uint32_t rows) {
    return (std::size_t{rows} + 63) / 64;
}

void set_range(std::vector<std::uint64_t>& bits, RowRange range) {
    auto row = range.begin;
    while (row < range.end) {
        const auto take = std::min(64 - row % 64, range.end - row);
        bits[row / 64] |= (~std::uint64_t{0} >> (64 - take)) << row % 64;
        row += take;
    }
}

/// Calls `take` for each set bit of rows [begin, end), ascending.
template <class Take>
void each_bit(const std::vector<std::uint64_t>& bits,
              std::uint32_t begin,
              std::uint32_t end,
              const Take& take) {
    for (std::uint64_t word = begin / 64; word * 64 < end; ++word) {
        auto left = bits[word];
        if (word == begin / 64) {
            left &= ~std::uint64_t{0} << begin % 64;
        }
        for (; left != 0; left &= left - 1) {
            const auto row = word * 64 + static_cast<unsigned>(std::countr_zero(left));
            if (row >= end) {
                return;
            }
            take(static_cast<std::uint32_t>(row));
        }
    }
}

}  // namespace

RowSet RowSet::from_list(std::uint32_t rows, std::vector<std::uint32_t> ascending) {
    if (ascending.empty()) {
        return none(rows);
    }
    MS_ASSERT(ascending.back() < rows);
    if (ascending.size() == rows) {
        return all(rows);
    }
    RowSet set(rows, Form::kList);
    set.list_ = std::move(ascending);
    if (set.list_.size() > rows / kRowsOfListEntry + 1) {
        return from_bits(rows, set.to_bits());
    }
    return set;
}

RowSet RowSet::from_ranges(std::uint32_t rows, std::span<const RowRange> ranges) {
    std::vector<std::uint64_t> bits(words_of(rows));
    for (const auto& range : ranges) {
        MS_ASSERT(range.end <= rows);
        set_range(bits, range);
    }
    return from_bits(rows, std::move(bits));
}

RowSet RowSet::from_bits(std::uint32_t rows, std::vector<std::uint64_t> bits) {
    MS_ASSERT(bits.size() == words_of(rows));
    RowSet set(rows, Form::kBits);
    for (const auto word : bits) {
        set.bit_count_ += static_cast<unsigned>(std::popcount(word));
    }
    if (set.bit_count_ == 0 || set.bit_count_ == rows) {
        return set.bit_count_ == 0 ? none(rows) : all(rows);
    }
    set.bits_ = std::move(bits);
    if (set.bit_count_ <= rows / kRowsOfListEntry) {
        RowSet list(rows, Form::kList);
        list.list_ = set.to_list();
        return list;
    }
    return set;
}

std::uint64_t RowSet::count() const {
    switch (form_) {
        case Form::kNone:
            return 0;
        case Form::kAll:
            return rows_;
        case Form::kList:
            return list_.size();
        case Form::kBits:
            return bit_count_;
    }
    return 0;
}

bool RowSet::contains(std::uint32_t row) const {
    switch (form_) {
        case Form::kNone:
            return false;
        case Form::kAll:
            return row < rows_;
        case Form::kList:
            return std::ranges::binary_search(list_, row);
        case Form::kBits:
            return row < rows_ && (bits_[row / 64] >> row % 64 & 1U) != 0;
    }
    return false;
}

void RowSet::append(std::uint32_t begin, std::uint32_t end, std::vector<std::uint32_t>& out) const {
    if (form_ == Form::kAll) {
        for (auto row = begin; row < end; ++row) {
            out.push_back(row);
        }
    } else if (form_ == Form::kList) {
        const auto first = std::ranges::lower_bound(list_, begin);
        out.insert(out.end(), first, std::lower_bound(first, list_.end(), end));
    } else if (form_ == Form::kBits) {
        each_bit(bits_, begin, end, [&](std::uint32_t row) { out.push_back(row); });
    }
}

std::vector<std::uint32_t> RowSet::to_list() const {
    std::vector<std::uint32_t> out;
    out.reserve(count());
    append(0, rows_, out);
    return out;
}

std::vector<RowRange> RowSet::ranges() const {
    if (is_none()) {
        return {};
    }
    if (is_all()) {
        return {{0, rows_}};
    }
    std::vector<RowRange> out;
    const auto take = [&](std::uint32_t row) {
        if (out.empty() || out.back().end != row) {
            out.push_back({row, row});
        }
        out.back().end = row + 1;
    };
    if (form_ == Form::kList) {
        std::ranges::for_each(list_, take);
    } else {
        each_bit(bits_, 0, rows_, take);
    }
    return out;
}

bool RowSet::has_between(std::uint32_t begin, std::uint32_t end) const {
    end = std::min(end, rows_);
    if (begin >= end || form_ == Form::kNone) {
        return false;
    }
    if (form_ == Form::kAll) {
        return true;
    }
    if (form_ == Form::kList) {
        const auto at = std::ranges::lower_bound(list_, begin);
        return at != list_.end() && *at < end;
    }
    const auto last = (end - 1) / 64;
    for (auto word = begin / 64; word <= last; ++word) {
        auto bits = bits_[word];
        bits &= word == begin / 64 ? ~std::uint64_t{0} << (begin % 64) : ~std::uint64_t{0};
        bits &= word == last ? ~std::uint64_t{0} >> (63 - (end - 1) % 64) : ~std::uint64_t{0};
        if (bits != 0) {
            return true;
        }
    }
    return false;
}

std::size_t RowSet::list_between(std::uint32_t begin, std::uint32_t end, std::uint32_t* out) const {
    end = std::min(end, rows_);
    auto* const first = out;
    switch (form_) {
        case Form::kNone:
            break;
        case Form::kAll:
            for (auto row = begin; row < end; ++row) {
                *out++ = row - begin;
            }
            break;
        case Form::kList:
            for (auto at = std::ranges::lower_bound(list_, begin); at != list_.end() && *at < end;
                 ++at) {
                *out++ = *at - begin;
            }
            break;
        case Form::kBits:
            for (auto word = begin / 64; begin < end && word <= (end - 1) / 64; ++word) {
                auto bits = bits_[word];
                if (word == begin / 64) {
                    bits &= ~std::uint64_t{0} << (begin % 64);
                }
                for (; bits != 0; bits &= bits - 1) {
                    const auto row = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
                    if (row >= end) {
                        break;
                    }
                    *out++ = row - begin;
                }
            }
            break;
    }
    return static_cast<std::size_t>(out - first);
}

std::size_t RowSet::memory_bytes() const {
    return list_.capacity() * sizeof(std::uint32_t) + bits_.capacity() * sizeof(std::uint64_t);
}

std::vector<std::uint64_t> RowSet::to_bits() const {
    if (form_ == Form::kBits) {
        return bits_;
    }
    std::vector<std::uint64_t> bits(words_of(rows_));
    if (form_ == Form::kAll) {
        set_range(bits, {0, rows_});
    }
    for (const auto row : list_) {
        bits[row / 64] |= std::uint64_t{1} << row % 64;
    }
    return bits;
}

RowSet RowSet::intersected(const RowSet& other) const {
    MS_ASSERT(rows_ == other.rows_);
    if (is_none() || other.is_all()) {
        return *this;
    }
    if (other.is_none() || is_all()) {
        return other;
    }
    if (form_ == Form::kBits && other.form_ == Form::kBits) {
        auto bits = bits_;
        for (std::size_t i = 0; i < bits.size(); ++i) {
            bits[i] &= other.bits_[i];
        }
        return from_bits(rows_, std::move(bits));
    }
    if (form_ == Form::kBits) {
        return other.intersected(*this);
    }
    std::vector<std::uint32_t> both;
    if (other.form_ == Form::kList) {
        std::ranges::set_intersection(list_, other.list_, std::back_inserter(both));
    } else {
        std::ranges::copy_if(
            list_, std::back_inserter(both), [&](auto row) { return other.contains(row); });
    }
    return from_list(rows_, std::move(both));
}

RowSet RowSet::united(const RowSet& other) const {
    MS_ASSERT(rows_ == other.rows_);
    if (is_none() || other.is_all()) {
        return other;
    }
    if (other.is_none() || is_all()) {
        return *this;
    }
    if (form_ == Form::kList && other.form_ == Form::kList) {
        std::vector<std::uint32_t> either;
        either.reserve(list_.size() + other.list_.size());
        std::ranges::set_union(list_, other.list_, std::back_inserter(either));
        return from_list(rows_, std::move(either));
    }
    if (form_ == Form::kList) {
        return other.united(*this);
    }
    auto bits = bits_;
    for (const auto row : other.list_) {
        bits[row / 64] |= std::uint64_t{1} << row % 64;
    }
    for (std::size_t i = 0; i < other.bits_.size(); ++i) {
        bits[i] |= other.bits_[i];
    }
    return from_bits(rows_, std::move(bits));
}

RowSet RowSet::complement() const {
    if (is_none() || is_all()) {
        return is_none() ? all(rows_) : none(rows_);
    }
    auto bits = to_bits();
    for (auto& word : bits) {
        word = ~word;
    }
    if (rows_ % 64 != 0) {
        bits.back() &= ~std::uint64_t{0} >> (64 - rows_ % 64);
    }
    return from_bits(rows_, std::move(bits));
}

bool operator==(const RowSet& a, const RowSet& b) {
    if (a.rows_ != b.rows_ || a.count() != b.count()) {
        return false;
    }
    return a.form_ == b.form_ ? a.list_ == b.list_ && a.bits_ == b.bits_
                              : a.to_bits() == b.to_bits();
}

RowSelection RowSelection::operator&(const RowSelection& other) const {
    const bool none_for_sure = (exact && rows.is_none()) || (other.exact && other.rows.is_none());
    RowSelection both{rows.intersected(other.rows), (exact && other.exact) || none_for_sure};
    // Nothing left of what could be: nothing is.
    both.exact = both.exact || both.rows.is_none();
    return both;
}

RowSelection RowSelection::operator|(const RowSelection& other) const {
    const bool all_for_sure = (exact && rows.is_all()) || (other.exact && other.rows.is_all());
    return {rows.united(other.rows), (exact && other.exact) || all_for_sure};
}

RowSelection RowSelection::operator!() const {
    if (exact) {
        return {rows.complement(), true};
    }
    return unknown(rows.rows());
}

RowSetBuilder::RowSetBuilder(std::uint32_t rows, std::uint64_t rows_expected) : rows_(rows) {
    if (rows_expected > rows / kRowsOfListEntry) {
        bits_.resize(words_of(rows));
    } else {
        list_.reserve(rows_expected);
    }
}

void RowSetBuilder::add(std::span<const std::uint32_t> rows) {
    if (bits_.empty()) {
        list_.insert(list_.end(), rows.begin(), rows.end());
        return;
    }
    auto* bits = bits_.data();
    for (const auto row : rows) {
        bits[row / 64] |= std::uint64_t{1} << row % 64;
    }
}

void RowSetBuilder::add(RowRange range) {
    if (bits_.empty()) {
        for (auto row = range.begin; row < range.end; ++row) {
            list_.push_back(row);
        }
        return;
    }
    set_range(bits_, range);
}

bool RowSetBuilder::add_list(Bytes list, std::uint64_t count) {
    return bits_.empty() ? read_ascending(list, count, rows_, list_)
                         : read_ascending_bits(list, count, rows_, bits_);
}

RowSet RowSetBuilder::build() && {
    if (!bits_.empty()) {
        return RowSet::from_bits(rows_, std::move(bits_));
    }
    std::ranges::sort(list_);
    list_.erase(std::unique(list_.begin(), list_.end()), list_.end());
    return RowSet::from_list(rows_, std::move(list_));
}

}  // namespace molesignal
