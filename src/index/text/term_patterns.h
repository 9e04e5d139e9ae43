#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/bytes.h"
#include "index/text/term_table.h"

namespace molesignal {

/// The patterns of a field: words of one log template come together, so instead of many nearly
/// equal row sets of common terms, each distinct *set of common terms* that rows have is a pattern
/// with one row set, and a common term is a list of patterns. Every row has exactly one pattern.
///
/// Which terms are common is a matter of bytes: independent terms multiply patterns. Rows are
/// grouped by the terms that more than a 64th of them have (fewer if that gives too many patterns);
/// then that grouping and the coarser ones of terms twice, four, eight and sixteen times as common
/// are priced, and the cheapest taken. Depends on nothing but the rows.
struct TermPatterns {
    /// For each term id: its place among the common terms, or kNotCommon.
    static constexpr std::uint16_t kNotCommon = UINT16_MAX;
    std::vector<std::uint16_t> common;
    /// For each pattern its common terms, ascending; patterns are in the order of these lists.
    std::vector<std::vector<std::uint16_t>> terms;
    /// Rows by pattern: those of pattern p are rows[row_begin[p]] to rows[row_begin[p + 1]],
    /// ascending.
    std::vector<std::uint32_t> rows;
    std::vector<std::uint32_t> row_begin;

    std::size_t capacity_bytes() const;
};

/// `row_counts`: rows of each term id.
TermPatterns find_patterns(const RowTerms& row_terms,
                           std::span<const std::uint32_t> row_counts,
                           std::uint32_t rows);

}  // namespace molesignal
