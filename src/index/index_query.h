#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "model/ids.h"

namespace molesignal {

/// What an index is asked: conditions on fields, joined by all, any and not. A value type.
///
/// Two-valued: a condition on a field is false where the field has no value (SQL's NULL), and
/// negation makes that true. Who translates SQL's `NOT (a = 'x')`, which is not true there, adds
/// present(a).
struct IndexQuery {
    enum class Kind : std::uint8_t {
        kAll,       ///< Every child; true without one.
        kAny,       ///< One child at least; false without one.
        kNot,       ///< Not its only child.
        kNeeds,     ///< Something that cannot be true without every child; what, may say `test`.
        kPresent,   ///< The field has a value.
        kPhrase,    ///< The text has the tokens `texts`, one behind the other.
        kContains,  ///< The value has `texts[0]` somewhere.
        kEquals,    ///< The value is one of `texts`.
    };
    /// Whether a value answers; nothing: that cannot be said. Called by several threads.
    using ValueTest = std::function<std::optional<bool>(std::string_view)>;
    /// Deeper queries are answered "unknown" below that.
    static constexpr std::size_t kDepthMax = 64;

    Kind kind = Kind::kAll;
    FieldId field;
    std::vector<std::string> texts;
    bool last_is_prefix = false;  ///< Of kPhrase: the last token is a prefix of the text's.
    bool ignore_case = false;     ///< Of kContains.
    std::vector<IndexQuery> children;
    std::shared_ptr<const ValueTest> test;  ///< Of kNeeds: of the values of `field`; may be null.

    static IndexQuery all(std::vector<IndexQuery> children);
    static IndexQuery any(std::vector<IndexQuery> children);
    static IndexQuery negation(IndexQuery child);
    /// Whatever cannot be true where one of `children` is false, as a regular expression without
    /// its literals: answered by the rows of all children, as "maybe".
    static IndexQuery needs(std::vector<IndexQuery> children);
    /// Whatever `test` says of a value of `field`, with what it cannot be true without: exactly
    /// where the index lists the values, as `needs` elsewhere.
    static IndexQuery passing(FieldId field, ValueTest test, std::vector<IndexQuery> children);
    static IndexQuery present(FieldId field);
    /// A word: `token` is one folded token (index/tokens.h). As match(field, 'token').
    static IndexQuery token(FieldId field, std::string_view token);
    /// As match(field, 'prefix*').
    static IndexQuery prefix(FieldId field, std::string_view prefix);
    /// As match(field, '"a phrase"'). Of several tokens answered exactly if all are common in the
    /// part; otherwise by the rows that have them all.
    static IndexQuery phrase(FieldId field, std::vector<std::string> tokens);
    /// As LIKE '%literal%'. `ignore_case`: each letter
    /// also matches its other case, whatever Unicode's simple case mappings say that is (ILIKE,
    /// (?i)). Never answered exactly for texts.
    static IndexQuery contains(FieldId field, std::string_view literal, bool ignore_case);
    static IndexQuery equals(FieldId field, std::string_view value);
    static IndexQuery one_of(FieldId field, std::vector<std::string> values);
};

/// A query as people read it: "(level = 'error' AND message has 'time out*')". Long texts and
/// queries are cut. `name_of` names fields.
std::string describe(const IndexQuery& query, const std::function<std::string(FieldId)>& name_of);

/// A piece of a literal as the tokens of a text see it.
struct LiteralPiece {
    std::string text;     ///< Folded, not empty, token bytes only.
    bool begins = false;  ///< A token begins where it begins.
    bool ends = false;    ///< A token ends where it ends.
    friend bool operator==(const LiteralPiece&, const LiteralPiece&) = default;
};

/// The pieces of tokens that a text with `literal` in it must have. `odd_case`: the text may have
/// letters outside ASCII whose other case is i, k or s.
std::vector<LiteralPiece> literal_pieces(std::string_view literal, bool ignore_case, bool odd_case);

}  // namespace molesignal
