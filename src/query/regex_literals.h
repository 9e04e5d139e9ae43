#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/index_query.h"

namespace molesignal {

/// How a regular expression of RE2 is read.
struct RegexMode {
    bool ignores_case = false;
    bool is_literal = false;  ///< The pattern is a text and no expression.
};

/// What is certain of the texts in which RE2 finds a pattern.
struct RegexLiterals {
    /// Literals that such a text has. Nothing: none is certain.
    std::optional<IndexQuery> needed;
    /// All texts that the whole pattern can stand for, if they are few and differ by case:
    /// one that it matches from begin to end is among them. Empty: not known.
    std::vector<std::string> whole;
};

/// Finds the literals of a pattern that RE2 has accepted, for an index of `field`: concatenations,
/// alternations, repetitions with a minimum, small classes, (?i). What has no literal, and syntax
/// that is not known here, gives nothing; so do patterns with more than 64 literals.
RegexLiterals regex_literals(std::string_view pattern, RegexMode mode, FieldId field);

}  // namespace molesignal
