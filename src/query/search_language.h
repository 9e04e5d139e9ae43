#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace molesignal {

/// Limits of a search; docs/search.md. Chosen so that the SQL of every search passes the guard.
inline constexpr std::size_t kSearchBytesMax = 16U << 10U;
inline constexpr std::size_t kSearchDepthMax = 24;  ///< Of parentheses and NOT.
inline constexpr std::size_t kSearchTermsMax = 64;

/// One end of a range.
struct SearchBound {
    std::string value;
    bool inclusive = true;
    friend bool operator==(const SearchBound&, const SearchBound&) = default;
};

/// One condition: on a field, or on the stream's full-text fields.
struct SearchTerm {
    enum class Kind : std::uint8_t {
        kText = 1,    ///< A word or a phrase.
        kPrefix = 2,  ///< `value` is what comes before the '*'.
        kExists = 3,
        kRegex = 4,
        kRange = 5,  ///< `low`, `high` or both.
    };
    Kind kind = Kind::kText;
    std::optional<std::string> field;  ///< Nothing: the full-text fields (kText, kPrefix only).
    std::string value;
    std::optional<SearchBound> low;
    std::optional<SearchBound> high;
    friend bool operator==(const SearchTerm&, const SearchTerm&) = default;
};

/// A search as a tree. An AND is never right below an AND, nor an OR below an OR; both have at
/// least two children, NOT has one.
struct SearchNode {
    enum class Kind : std::uint8_t { kAll = 1, kTerm = 2, kNot = 3, kAnd = 4, kOr = 5 };
    Kind kind = Kind::kAll;
    std::size_t at = 0;  ///< Byte of the text where it begins; does not count for equality.
    SearchTerm term;     ///< Of kTerm.
    std::vector<SearchNode> children;
};
bool operator==(const SearchNode& left, const SearchNode& right);

/// Parses a search: words, "phrases", prefix*, -not, NOT, AND (also implied), OR, parentheses and
/// conditions on fields (docs/search.md). An empty text and `*` are all rows. Fields and values are
/// not looked at: see search_condition.
///
/// kInvalidArgument names the byte: syntax, a control character, text that is not UTF-8, a limit.
/// Takes time in proportion to the text. Thread-safe.
Result<SearchNode> parse_search(std::string_view text);

/// The search as text in one fixed form; parsing it gives an equal tree. Two texts with the same
/// form ask for the same.
std::string search_text(const SearchNode& search);

}  // namespace molesignal
