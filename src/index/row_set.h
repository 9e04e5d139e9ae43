#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/bytes.h"

namespace molesignal {

/// Rows [begin, end).
struct RowRange {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    friend bool operator==(const RowRange&, const RowRange&) = default;
};

/// Some of the rows 0..rows()-1 of a part. "None" and "all" take no memory, few rows a sorted list
/// (4 bytes each), many a bitmap (an eighth of a byte for each row of the part). Both forms are
/// flat arrays, which is all that parts of ten million rows need. A value: copies are independent;
/// `const` calls from several threads are safe.
class RowSet {
public:
    static RowSet none(std::uint32_t rows) { return RowSet(rows, Form::kNone); }
    static RowSet all(std::uint32_t rows) {
        return RowSet(rows, rows == 0 ? Form::kNone : Form::kAll);
    }
    /// `ascending`: no row twice, all below `rows`.
    static RowSet from_list(std::uint32_t rows, std::vector<std::uint32_t> ascending);
    /// `ranges`: ascending, apart from each other, not beyond `rows`.
    static RowSet from_ranges(std::uint32_t rows, std::span<const RowRange> ranges);
    /// `bits`: a bit a row, none set beyond `rows`.
    static RowSet from_bits(std::uint32_t rows, std::vector<std::uint64_t> bits);

    std::uint32_t rows() const { return rows_; }
    std::uint64_t count() const;
    bool is_none() const { return form_ == Form::kNone; }
    bool is_all() const { return form_ == Form::kAll; }
    bool contains(std::uint32_t row) const;
    /// The chosen rows as the fewest ranges, ascending.
    std::vector<RowRange> ranges() const;
    /// The chosen rows, ascending.
    std::vector<std::uint32_t> to_list() const;
    /// Whether a row of [begin, end) is chosen.
    bool has_between(std::uint32_t begin, std::uint32_t end) const;
    /// Writes the chosen rows of [begin, end), counted from `begin`, to `out`, which has room for
    /// them all; returns how many.
    std::size_t list_between(std::uint32_t begin, std::uint32_t end, std::uint32_t* out) const;
    std::size_t memory_bytes() const;

    /// Both sets are of the same part.
    RowSet intersected(const RowSet& other) const;
    RowSet united(const RowSet& other) const;
    RowSet complement() const;
    friend bool operator==(const RowSet& a, const RowSet& b);

private:
    enum class Form : std::uint8_t { kNone, kAll, kList, kBits };
    RowSet(std::uint32_t rows, Form form) : rows_(rows), form_(form) {}
    std::vector<std::uint64_t> to_bits() const;
    void append(std::uint32_t begin, std::uint32_t end, std::vector<std::uint32_t>& out) const;

    std::uint32_t rows_ = 0;
    Form form_ = Form::kNone;
    std::uint64_t bit_count_ = 0;  ///< Of kBits.
    std::vector<std::uint32_t> list_;
    std::vector<std::uint64_t> bits_;
};

/// The rows of a look-up. Exact: these and no others. Otherwise every row that answers is among
/// them, and each must be looked at.
struct RowSelection {
    RowSet rows = RowSet::none(0);
    bool exact = true;

    static RowSelection none(std::uint32_t rows) { return {RowSet::none(rows), true}; }
    static RowSelection all(std::uint32_t rows) { return {RowSet::all(rows), true}; }
    /// What is known of a field without an index: nothing.
    static RowSelection unknown(std::uint32_t rows) { return {RowSet::all(rows), false}; }

    /// Rows of both. Exact if both are, or if one is exactly none.
    RowSelection operator&(const RowSelection& other) const;
    /// Rows of either. Exact if both are, or if one is exactly all.
    RowSelection operator|(const RowSelection& other) const;
    /// The other rows; of an inexact selection they can be any.
    RowSelection operator!() const;
};

/// Collects rows in any order. One thread at a time.
class RowSetBuilder {
public:
    /// `rows_expected`, repeats included, decides the form that rows are collected in.
    RowSetBuilder(std::uint32_t rows, std::uint64_t rows_expected);
    void add(std::span<const std::uint32_t> rows);
    void add(RowRange range);
    /// Adds a list as append_ascending writes it (index/coding.h). False: it is not one.
    bool add_list(Bytes list, std::uint64_t count);
    RowSet build() &&;

private:
    std::uint32_t rows_;
    std::vector<std::uint32_t> list_;
    std::vector<std::uint64_t> bits_;  ///< Empty: rows go to the list.
};

}  // namespace molesignal
