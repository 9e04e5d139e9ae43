#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/bytes.h"
#include "index/text/term_table.h"

namespace molesignal {

/// Terms that stand for no token, by their ids.
enum SpecialTerm : std::uint32_t {
    kNullRows,
    kHashedRows,
    kLongRows,
    kUnknownOrder,  ///< Has no rows: in a row it says that its terms may have been in another
                    ///< order.
    kSpecialTerms,
};

/// The patterns of a field: words of one log template come together, so instead of many nearly
/// equal row sets of common terms, each distinct *set of common terms* that rows have is a pattern
/// with one row set, and a common term is a list of patterns. Every row has exactly one pattern.
///
/// Which terms are common is a matter of bytes: independent terms multiply patterns. Rows are
/// grouped by the terms that more than a 64th of them have (fewer if that gives too many patterns);
/// then that grouping and the coarser ones of terms twice, four, eight and sixteen times as common
/// are priced, and the cheapest taken.
///
/// Rows with the same common terms nearly always have them in the same order, too. So patterns are
/// split by that order where it costs little, and then say which rows have a phrase of common
/// terms.
///
/// Depends on nothing but the rows.
struct TermPatterns {
    /// For each term id: its place among the common terms, or kNotCommon.
    static constexpr std::uint16_t kNotCommon = UINT16_MAX;
    std::vector<std::uint16_t> common;
    /// For each pattern its common terms, ascending; patterns are in the order of these lists.
    std::vector<std::vector<std::uint16_t>> terms;
    /// For each pattern its common terms in the order of the text: kGap where something else stands
    /// between two of them, kAnything where anything may follow, otherwise kFirstPlace + a place.
    /// Nothing before the first and behind the last. Empty: patterns are not split by order.
    std::vector<std::vector<std::uint16_t>> sequences;
    static constexpr std::uint16_t kGap = 0;
    static constexpr std::uint16_t kAnything = 1;
    static constexpr std::uint16_t kFirstPlace = 2;
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
