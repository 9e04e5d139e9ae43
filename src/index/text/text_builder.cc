#include "index/text/text_builder.h"

#include <array>

#include "index/text/term_patterns.h"
#include "index/text/text_encoder.h"

namespace molesignal {
namespace {

/// By their ids (SpecialTerm).
constexpr std::array<std::string_view, kSpecialTerms> kSpecialTexts = {
    kNullRowsTerm, kHashedRowsTerm, kLongRowsTerm, "\x04"};

}  // namespace

TextBuilder::TextBuilder(std::uint32_t rows, std::uint64_t table_seed)
    : rows_(rows), terms_(table_seed), hashed_(rows, 0) {
    static_assert(TokenScanner::kPaddingBytes >= TermTable::kPaddingBytes);
    for (const auto term : kSpecialTexts) {
        (void)terms_.add_name(term);
    }
}

/// Something that is no token of the dictionary; the rows that have it are listed.
void TextBuilder::add_special(std::uint32_t special, std::uint32_t row) {
    char padded[1 + TermTable::kPaddingBytes] = {kSpecialTexts[special][0]};
    const auto [id, is_again] = terms_.add(std::string_view(padded, 1), row);
    if (is_again) {
        row_terms_.add_gap();
    } else {
        row_terms_.add(id);
        ++row_term_count_;
    }
}

void TextBuilder::skip_to(std::uint32_t row) {
    for (; next_row_ < row; ++next_row_) {
        add_special(kNullRows, next_row_);
        row_terms_.end_row();
    }
}

void TextBuilder::add(std::uint32_t row, std::string_view value) {
    skip_to(row);
    ++present_rows_;
    if (value.find(kTextBoundary) != std::string_view::npos) [[unlikely]] {
        row_terms_.add_again(kUnknownOrder);
    }
    const auto count = scanner_.scan(value);
    for (std::size_t i = 0; i < count; ++i) {
        const auto token = scanner_.token(i);
        if (token.size() > kTermBytesMax) [[unlikely]] {
            add_special(kLongRows, row);
        } else if (is_hashed_token(token)) {
            hashed_.add(id_hash(token), row);
            add_special(kHashedRows, row);
        } else if (const auto [id, is_again] = terms_.add(token, row); is_again) {
            row_terms_.add_again(id);
        } else {
            row_terms_.add(id);
            ++row_term_count_;
        }
    }
    row_terms_.end_row();
    ++next_row_;
}

std::size_t TextBuilder::capacity_bytes() const {
    return scanner_.capacity_bytes() + terms_.capacity_bytes() + row_terms_.capacity_bytes() +
           hashed_.capacity_bytes();
}

std::size_t TextBuilder::finish_bytes() const {
    return hashed_.finish_bytes() + text_encoder_bytes(terms_.size(), row_term_count_, rows_);
}

BuiltField TextBuilder::finish() {
    skip_to(rows_);
    BuiltField built{.kind = FieldIndexKind::kText, .present_rows = present_rows_};
    auto table = std::move(hashed_).finish(built.hashes);
    auto encoded = encode_terms(terms_, row_terms_, rows_);
    built.text.terms = encoded.terms;
    built.text.patterns = encoded.patterns;
    built.text.odd_case = encoded.odd_case;
    built.distinct = encoded.tokens + built.hashes.entries;
    built.areas.emplace_back(AreaKind::kDictionary, std::move(encoded.dictionary));
    built.areas.emplace_back(AreaKind::kDictionaryIndex, std::move(encoded.dictionary_index));
    built.areas.emplace_back(AreaKind::kPostings, std::move(encoded.postings));
    built.areas.emplace_back(AreaKind::kPatternIndex, std::move(encoded.pattern_index));
    built.areas.emplace_back(AreaKind::kHashes, std::move(table.hashes));
    built.areas.emplace_back(AreaKind::kHashIndex, std::move(table.index));
    if (!encoded.sequences.empty()) {
        built.areas.emplace_back(AreaKind::kSequences, std::move(encoded.sequences));
    }
    return built;
}

}  // namespace molesignal
