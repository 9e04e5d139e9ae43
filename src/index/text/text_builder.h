#pragma once

#include "index/field_builder.h"
#include "index/hash_table.h"
#include "index/text/term_table.h"
#include "index/tokens.h"

namespace molesignal {

/// Builds the word index of a text field: dictionary, postings, patterns and the table of hashed
/// tokens. While rows come in it keeps the distinct terms, a byte or two for each term of a row,
/// and eight bytes for each hashed token.
class TextBuilder final : public FieldBuilder {
public:
    TextBuilder(std::uint32_t rows, std::uint64_t table_seed);
    void add(std::uint32_t row, std::string_view value) override;
    std::size_t capacity_bytes() const override;
    std::size_t finish_bytes() const override;
    BuiltField finish() override;

private:
    void add_special(std::uint32_t special, std::uint32_t row);
    void skip_to(std::uint32_t row);

    std::uint32_t rows_;
    std::uint32_t next_row_ = 0;
    std::uint64_t present_rows_ = 0;
    std::uint64_t row_term_count_ = 0;
    TokenScanner scanner_;
    TermTable terms_;
    RowTerms row_terms_;
    HashTableBuilder hashed_;
};

}  // namespace molesignal
