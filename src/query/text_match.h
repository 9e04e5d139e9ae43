#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "index/index_query.h"

namespace molesignal {

/// A compiled `match` query: words, "phrases", prefix*, and -not before any of them; all must hold.
/// A text is searched in time proportional to its length times the words of the query.
///
/// What a token is and which letters are alike says index/tokens.h. A phrase is tokens that follow
/// each other. The byte 0x1e separates texts that were joined: no phrase reaches across it.
/// Immutable; thread-safe.
class TextMatch {
public:
    static constexpr std::size_t kWordsMax = 64;         ///< Of a query, its phrases' included.
    static constexpr std::size_t kWordBytesMax = 1'024;  ///< Of a word.

    /// kInvalidArgument: nothing to look for, an open quote, too many or too long words.
    static Result<TextMatch> parse(std::string_view query);

    bool matches(std::string_view text) const;

    /// A word or phrase of the query.
    struct Term {
        std::vector<std::string> tokens;  ///< Folded; several for a phrase; never empty.
        bool prefix = false;              ///< The last token is a prefix.
        bool negated = false;
    };
    const std::vector<Term>& terms() const { return terms_; }
    /// What an index is asked for the rows whose `field` matches; NULL does not.
    IndexQuery index_query(FieldId field) const;

private:
    /// A term of `text`, the part of a query between blanks or quotes; nothing if it has no word.
    Result<> add_term(std::string_view text, bool prefix, bool negated);
    static bool contains(std::string_view folded, const Term& term);
    std::vector<Term> terms_;
    std::size_t words_ = 0;
};

}  // namespace molesignal
