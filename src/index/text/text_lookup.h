#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/area_reader.h"
#include "index/index_query.h"
#include "index/text/term_entry.h"

namespace molesignal {

/// Look-ups in the word index of one field. What it parses stays for the next look-up. One thread
/// at a time.
class TextLookup {
public:
    /// All must outlive this.
    TextLookup(const SidecarDirectory& directory, const SidecarField& field, AreaReader& areas)
        : directory_(directory), field_(field), areas_(areas) {}

    /// Rows with every token; exact if no token is of the kinds that are kept by hash or length.
    Result<RowSelection> all_of(std::span<const std::string> tokens);
    /// Rows with the tokens one behind the other; exact if there is one, or if all are common
    /// enough that the index knows their order.
    Result<RowSelection> phrase(std::span<const std::string> tokens);
    /// Rows with a token that begins with `prefix`.
    Result<RowSelection> prefix(std::string_view prefix);
    /// Rows whose text may have `literal` in it.
    Result<RowSelection> contains(std::string_view literal, bool ignore_case);
    /// Rows that have a text.
    Result<RowSelection> present();
    /// How many rows have `token`, if the dictionary can say.
    Result<std::optional<std::uint64_t>> count(std::string_view token);

private:
    struct Block {
        std::string_view first;
        std::uint64_t lists_begin = 0;
        ByteRange bytes;
    };
    struct Pattern {
        std::uint64_t rows = 0;
        ByteRange list;
    };
    using Numbers = std::vector<std::uint32_t>;

    std::uint32_t rows() const { return directory_.rows; }
    RowSelection unknown() const { return RowSelection::unknown(rows()); }
    Result<> open_dictionary();
    Result<> open_patterns();
    Result<> open_sequences();
    /// Whether the rows of pattern `number` have the words `wanted` one behind the other; nothing:
    /// some may.
    std::optional<bool> has_phrase(std::size_t number, std::span<const std::uint64_t> wanted) const;
    /// Reads the entries of dictionary blocks [begin, end) until `take` returns false.
    Result<> scan(std::size_t begin,
                  std::size_t end,
                  const std::function<bool(const TermCursor&)>& take);
    std::size_t block_of(std::string_view term) const;
    Result<std::optional<TermEntry>> find(std::string_view term);
    Result<Numbers> patterns_of(const TermEntry& entry);
    Result<RowSet> rows_of_patterns(const Numbers& patterns);
    Result<RowSet> rows_of_lists(std::span<const Pattern> lists, Numbers single_rows);
    /// Rows of any of the entries.
    Result<RowSet> rows_of(std::span<const TermEntry> entries);
    Result<RowSet> rows_of_term(std::string_view term);
    Result<RowSelection> hashed(std::string_view token);
    /// Rows of dictionary terms, and as "maybe" those that a piece of a token may lie in.
    Result<RowSelection> with_unlisted(std::span<const TermEntry> entries, std::string_view piece);
    Result<RowSelection> pieces_in_terms(std::span<const LiteralPiece> pieces);

    const SidecarDirectory& directory_;
    const SidecarField& field_;
    AreaReader& areas_;
    std::optional<std::vector<Block>> blocks_;
    std::optional<std::vector<Pattern>> patterns_;
    /// The order of common tokens in the rows of each pattern.
    struct Sequences {
        std::vector<std::string_view> words;  ///< Ascending.
        std::vector<std::uint64_t> items;     ///< Of all patterns, as TermPatterns has them.
        std::vector<std::size_t> ends;        ///< By pattern.
    };
    std::optional<Sequences> sequences_;
};

}  // namespace molesignal
