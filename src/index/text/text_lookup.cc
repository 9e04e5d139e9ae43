#include "index/text/text_lookup.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "index/coding.h"
#include "index/hash_table.h"
#include "index/text/term_patterns.h"
#include "index/tokens.h"

namespace molesignal {
namespace {

Error corrupt(const char* what) {
    return Error(ErrorCode::kCorruption, std::string("index sidecar: ") + what);
}

bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, is_token_byte);
}

bool has_piece(std::string_view term, const LiteralPiece& piece) {
    if (piece.text.size() > term.size()) {
        return false;
    }
    if (piece.begins) {
        return term.starts_with(piece.text);
    }
    if (piece.ends) {
        return term.ends_with(piece.text);
    }
    return ::memmem(term.data(), term.size(), piece.text.data(), piece.text.size()) != nullptr;
}

}  // namespace

Result<> TextLookup::open_dictionary() {
    if (blocks_) {
        return {};
    }
    MS_TRY(const auto index, areas_.read_all(*field_.area(AreaKind::kDictionaryIndex)));
    std::vector<Block> blocks;
    ByteReader in(index);
    Block block;
    while (in.left() > 0) {
        block.first = in.text(kTermBytesMax);
        block.lists_begin += in.varint(UINT32_MAX);
        block.bytes.begin = block.bytes.end;
        block.bytes.end += in.varint(UINT32_MAX);
        if (!blocks.empty() && blocks.back().first >= block.first) {
            in.fail();
        }
        blocks.push_back(block);
    }
    if (!in.ok()) {
        return corrupt("the dictionary's index is not as it is written");
    }
    blocks_ = std::move(blocks);
    return {};
}

Result<> TextLookup::open_patterns() {
    if (patterns_) {
        return {};
    }
    MS_TRY(const auto index, areas_.read_all(*field_.area(AreaKind::kPatternIndex)));
    std::vector<Pattern> patterns;
    ByteReader in(index);
    Pattern pattern;
    std::uint64_t all_rows = 0;
    while (in.left() > 0) {
        pattern.rows = in.varint(rows());
        pattern.list.begin = pattern.list.end;
        pattern.list.end += in.varint(UINT32_MAX);
        all_rows += pattern.rows;
        patterns.push_back(pattern);
    }
    // Every row has one pattern, if there are any.
    if (!in.ok() || patterns.size() != field_.text.patterns ||
        (!patterns.empty() && all_rows != rows())) {
        return corrupt("the patterns are not as they are written");
    }
    patterns_ = std::move(patterns);
    return {};
}

Result<> TextLookup::open_sequences() {
    if (sequences_) {
        return {};
    }
    MS_TRY(const auto bytes, areas_.read_all(*field_.area(AreaKind::kSequences)));
    Sequences sequences;
    ByteReader in(bytes);
    const auto words = in.varint(TermPatterns::kNotCommon);
    for (std::uint64_t i = 0; i < words && in.ok(); ++i) {
        sequences.words.push_back(in.text(kTermBytesMax));
        if (i > 0 && sequences.words[i - 1] >= sequences.words[i]) {
            in.fail();
        }
    }
    for (std::uint64_t i = 0; i < field_.text.patterns && in.ok(); ++i) {
        const auto count = in.varint(in.left());
        for (std::uint64_t at = 0; at < count && in.ok(); ++at) {
            const auto item = in.varint(TermPatterns::kFirstPlace + words);
            if (item == TermPatterns::kFirstPlace + words) {
                in.fail();
            }
            sequences.items.push_back(item);
        }
        sequences.ends.push_back(sequences.items.size());
    }
    if (!in.ok() || in.left() != 0) {
        return corrupt("the sequences are not as they are written");
    }
    sequences_ = std::move(sequences);
    return {};
}

std::optional<bool> TextLookup::has_phrase(std::size_t number,
                                           std::span<const std::uint64_t> wanted) const {
    const auto begin = number == 0 ? 0 : sequences_->ends[number - 1];
    const auto items =
        std::span(sequences_->items).subspan(begin, sequences_->ends[number] - begin);
    if (!std::ranges::search(items, wanted).empty()) {
        return true;
    }
    const bool is_whole =
        std::ranges::find(items, std::uint64_t{TermPatterns::kAnything}) == items.end();
    return is_whole ? std::optional(false) : std::nullopt;
}

Result<RowSelection> TextLookup::phrase(std::span<const std::string> tokens) {
    const auto* const area = field_.area(AreaKind::kSequences);
    if (tokens.size() < 2 || area == nullptr) {
        MS_TRY(auto selection, all_of(tokens));
        selection.exact = selection.rows.is_none() || (selection.exact && tokens.size() < 2);
        return selection;
    }
    MS_TRY_VOID(open_sequences());
    std::vector<std::uint64_t> wanted;
    for (const auto& token : tokens) {
        const auto word = std::ranges::lower_bound(sequences_->words, std::string_view(token));
        if (word != sequences_->words.end() && *word == token) {
            wanted.push_back(TermPatterns::kFirstPlace +
                             static_cast<std::uint64_t>(word - sequences_->words.begin()));
        }
    }
    if (wanted.size() < tokens.size()) {
        // Of the others' rows there are few.
        MS_TRY(auto selection, all_of(tokens));
        selection.exact = selection.rows.is_none();
        return selection;
    }
    MS_TRY_VOID(open_patterns());
    Numbers with;
    Numbers perhaps;
    for (std::uint32_t number = 0; number < patterns_->size(); ++number) {
        const auto has = has_phrase(number, wanted);
        if (has.value_or(true)) {
            (has.has_value() ? with : perhaps).push_back(number);
        }
    }
    MS_TRY(auto rows_with, rows_of_patterns(with));
    if (perhaps.empty()) {
        return RowSelection{std::move(rows_with), true};
    }
    MS_TRY(const auto rows_perhaps, rows_of_patterns(perhaps));
    MS_TRY(const auto candidates, all_of(tokens));
    const auto maybe = rows_perhaps.intersected(candidates.rows);
    return RowSelection{rows_with.united(maybe), maybe.is_none()};
}

Result<> TextLookup::scan(std::size_t begin,
                          std::size_t end,
                          const std::function<bool(const TermCursor&)>& take) {
    const auto& dictionary = *field_.area(AreaKind::kDictionary);
    for (auto i = begin; i < end; ++i) {
        const auto& block = (*blocks_)[i];
        MS_TRY(const auto bytes, areas_.read(dictionary, block.bytes));
        TermCursor cursor(bytes, block.lists_begin, rows());
        while (cursor.next()) {
            if (!take(cursor)) {
                return {};
            }
        }
        if (!cursor.ok()) {
            return corrupt("a dictionary block is not as it is written");
        }
    }
    return {};
}

/// The block that has `term`, if any does.
std::size_t TextLookup::block_of(std::string_view term) const {
    const auto after = std::ranges::upper_bound(*blocks_, term, {}, &Block::first);
    return static_cast<std::size_t>(std::max<std::ptrdiff_t>(1, after - blocks_->begin()) - 1);
}

Result<std::optional<TermEntry>> TextLookup::find(std::string_view term) {
    MS_TRY_VOID(open_dictionary());
    std::optional<TermEntry> found;
    const auto block = block_of(term);
    MS_TRY_VOID(scan(block, std::min(block + 1, blocks_->size()), [&](const TermCursor& cursor) {
        if (cursor.term() == term) {
            found = cursor.entry();
        }
        return cursor.term() < term;
    }));
    return found;
}

Result<TextLookup::Numbers> TextLookup::patterns_of(const TermEntry& entry) {
    MS_TRY_VOID(open_patterns());
    MS_TRY(
        const auto bytes,
        areas_.read(*field_.area(AreaKind::kPostings), {entry.offset, entry.offset + entry.bytes}));
    Numbers numbers;
    if (!read_ascending(bytes, entry.patterns, patterns_->size(), numbers)) {
        return corrupt("a term's patterns are not as they are written");
    }
    std::uint64_t pattern_rows = 0;
    for (const auto number : numbers) {
        pattern_rows += (*patterns_)[number].rows;
    }
    if (pattern_rows != entry.rows) {
        return corrupt("a term and its patterns have different numbers of rows");
    }
    return numbers;
}

Result<RowSet> TextLookup::rows_of_lists(std::span<const Pattern> lists, Numbers single_rows) {
    const auto& postings = *field_.area(AreaKind::kPostings);
    std::vector<ByteRange> ranges;
    std::uint64_t expected = single_rows.size();
    for (const auto& list : lists) {
        ranges.push_back(list.list);
        expected += list.rows;
    }
    MS_TRY_VOID(areas_.fetch(postings, ranges));
    if (std::ranges::any_of(single_rows, [&](auto row) { return row >= rows(); })) {
        return corrupt("a row is not in the part");
    }
    RowSetBuilder builder(rows(), std::min<std::uint64_t>(expected, rows()));
    builder.add(single_rows);
    for (const auto& list : lists) {
        MS_TRY(const auto bytes, areas_.read(postings, list.list));
        if (!builder.add_list(bytes, list.rows)) {
            return corrupt("a list of rows is not as it is written");
        }
    }
    return std::move(builder).build();
}

Result<RowSet> TextLookup::rows_of_patterns(const Numbers& numbers) {
    std::vector<Pattern> chosen;
    std::uint64_t chosen_rows = 0;
    for (const auto number : numbers) {
        chosen.push_back((*patterns_)[number]);
        chosen_rows += chosen.back().rows;
    }
    if (chosen_rows <= rows() / 2) {
        return rows_of_lists(chosen, {});
    }
    // Every row has one pattern: the others' rows are fewer.
    std::vector<Pattern> others;
    for (std::uint32_t number = 0; number < patterns_->size(); ++number) {
        if (!std::ranges::binary_search(numbers, number)) {
            others.push_back((*patterns_)[number]);
        }
    }
    MS_TRY(const auto rest, rows_of_lists(others, {}));
    return rest.complement();
}

Result<RowSet> TextLookup::rows_of(std::span<const TermEntry> entries) {
    std::vector<Pattern> lists;
    Numbers single_rows;
    std::vector<bool> wanted(field_.text.patterns);
    for (const auto& entry : entries) {
        if (entry.form == RowsForm::kOneRow) {
            single_rows.push_back(entry.row);
        } else if (entry.form == RowsForm::kPatterns) {
            MS_TRY(const auto numbers, patterns_of(entry));
            for (const auto number : numbers) {
                wanted[number] = true;
            }
        } else {
            if (entry.offset > UINT64_MAX - entry.bytes) {
                return corrupt("a list lies nowhere");
            }
            lists.push_back({entry.rows, {entry.offset, entry.offset + entry.bytes}});
        }
    }
    MS_TRY(auto set, rows_of_lists(lists, std::move(single_rows)));
    Numbers numbers;
    for (std::uint32_t number = 0; number < wanted.size(); ++number) {
        if (wanted[number]) {
            numbers.push_back(number);
        }
    }
    if (numbers.empty()) {
        return set;
    }
    MS_TRY(const auto of_patterns, rows_of_patterns(numbers));
    return set.united(of_patterns);
}

Result<RowSet> TextLookup::rows_of_term(std::string_view term) {
    MS_TRY(const auto entry, find(term));
    if (!entry) {
        return RowSet::none(rows());
    }
    return rows_of(std::span(&*entry, 1));
}

Result<RowSelection> TextLookup::hashed(std::string_view token) {
    if (field_.hashes.is_dropped) {
        MS_TRY(auto any, rows_of_term(kHashedRowsTerm));
        return RowSelection{std::move(any), false};
    }
    const auto hash = id_hash(token);
    MS_TRY(auto found, find_hashed_rows(field_, areas_, std::span(&hash, 1), rows()));
    const bool none = found.is_none();
    return RowSelection{std::move(found), none};
}

Result<RowSelection> TextLookup::all_of(std::span<const std::string> tokens) {
    auto selection = RowSelection::all(rows());
    std::vector<TermEntry> lists;
    std::optional<Numbers> patterns;
    for (const auto& token : tokens) {
        if (!is_token(token)) {
            selection = selection & unknown();
        } else if (token.size() > kTermBytesMax) {
            MS_TRY(auto any, rows_of_term(kLongRowsTerm));
            selection = selection & RowSelection{std::move(any), false};
        } else if (is_hashed_token(token)) {
            MS_TRY(const auto maybe, hashed(token));
            selection = selection & maybe;
        } else {
            MS_TRY(const auto entry, find(token));
            if (!entry) {
                return RowSelection::none(rows());
            }
            if (entry->form != RowsForm::kPatterns) {
                lists.push_back(*entry);
                continue;
            }
            MS_TRY(auto numbers, patterns_of(*entry));
            if (patterns) {
                Numbers both;
                std::ranges::set_intersection(*patterns, numbers, std::back_inserter(both));
                numbers = std::move(both);
            }
            patterns = std::move(numbers);
        }
        if (selection.rows.is_none()) {
            return RowSelection::none(rows());
        }
    }
    std::ranges::sort(lists, {}, &TermEntry::rows);
    for (const auto& entry : lists) {
        MS_TRY(auto set, rows_of(std::span(&entry, 1)));
        selection = selection & RowSelection{std::move(set), true};
        if (selection.rows.is_none()) {
            return RowSelection::none(rows());
        }
    }
    if (patterns) {
        MS_TRY(auto set, rows_of_patterns(*patterns));
        selection = selection & RowSelection{std::move(set), true};
    }
    return selection;
}

Result<RowSelection> TextLookup::with_unlisted(std::span<const TermEntry> entries,
                                               std::string_view piece) {
    MS_TRY(auto set, rows_of(entries));
    RowSelection selection{std::move(set), true};
    MS_TRY(auto of_long, rows_of_term(kLongRowsTerm));
    if (!of_long.is_none()) {
        selection = selection | RowSelection{std::move(of_long), false};
    }
    if (piece.size() <= kTermBytesMax && is_hex_text(piece)) {
        MS_TRY(auto of_hashed, rows_of_term(kHashedRowsTerm));
        if (!of_hashed.is_none()) {
            selection = selection | RowSelection{std::move(of_hashed), false};
        }
    }
    return selection;
}

Result<RowSelection> TextLookup::prefix(std::string_view prefix) {
    if (!is_token(prefix)) {
        return unknown();
    }
    MS_TRY_VOID(open_dictionary());
    std::vector<TermEntry> entries;
    const auto begin = block_of(prefix);
    auto end = begin;
    while (end < blocks_->size() && (*blocks_)[end].first.substr(0, prefix.size()) <= prefix) {
        ++end;
    }
    if (begin < end) {
        const ByteRange range{(*blocks_)[begin].bytes.begin, (*blocks_)[end - 1].bytes.end};
        MS_TRY_VOID(areas_.fetch(*field_.area(AreaKind::kDictionary), std::span(&range, 1)));
    }
    MS_TRY_VOID(scan(begin, end, [&](const TermCursor& cursor) {
        const auto term = cursor.term();
        if (term.starts_with(prefix)) {
            entries.push_back(cursor.entry());
            return true;
        }
        return term < prefix;
    }));
    return with_unlisted(entries, prefix);
}

Result<RowSelection> TextLookup::pieces_in_terms(std::span<const LiteralPiece> pieces) {
    MS_TRY_VOID(open_dictionary());
    std::vector<std::vector<TermEntry>> entries(pieces.size());
    std::vector<std::uint64_t> found_rows(pieces.size());
    const auto& dictionary = *field_.area(AreaKind::kDictionary);
    const ByteRange all{0, dictionary.bytes};
    MS_TRY_VOID(areas_.fetch(dictionary, std::span(&all, 1)));
    MS_TRY_VOID(scan(0, blocks_->size(), [&](const TermCursor& cursor) {
        const auto term = cursor.term();
        for (std::size_t i = 0; i < pieces.size() && is_token_byte(term[0]); ++i) {
            if (has_piece(term, pieces[i]) && found_rows[i] < rows()) {
                entries[i].push_back(cursor.entry());
                found_rows[i] += cursor.entry().rows;
            }
        }
        return true;
    }));
    auto selection = unknown();
    for (std::size_t i = 0; i < pieces.size() && !selection.rows.is_none(); ++i) {
        // A piece of so many tokens says nothing.
        if (found_rows[i] < rows()) {
            MS_TRY(const auto with_piece, with_unlisted(entries[i], pieces[i].text));
            selection = selection & with_piece;
        }
    }
    return selection;
}

Result<RowSelection> TextLookup::contains(std::string_view literal, bool ignore_case) {
    std::vector<std::string> tokens;
    std::vector<LiteralPiece> pieces;
    for (auto& piece : literal_pieces(literal, ignore_case, field_.text.odd_case)) {
        if (piece.begins && piece.ends) {
            tokens.push_back(std::move(piece.text));
        } else {
            pieces.push_back(std::move(piece));
        }
    }
    auto selection = unknown();
    if (!tokens.empty()) {
        MS_TRY(const auto with_tokens, all_of(tokens));
        selection = selection & with_tokens;
    }
    if (!pieces.empty() && !selection.rows.is_none()) {
        MS_TRY(const auto with_pieces, pieces_in_terms(pieces));
        selection = selection & with_pieces;
    }
    return selection;
}

Result<RowSelection> TextLookup::present() {
    if (field_.present_rows == rows()) {
        return RowSelection::all(rows());
    }
    MS_TRY(const auto null_rows, rows_of_term(kNullRowsTerm));
    return RowSelection{null_rows.complement(), true};
}

Result<std::optional<std::uint64_t>> TextLookup::count(std::string_view token) {
    if (!is_token(token) || token.size() > kTermBytesMax || is_hashed_token(token)) {
        return std::nullopt;
    }
    MS_TRY(const auto entry, find(token));
    return entry ? entry->rows : 0;
}

}  // namespace molesignal
