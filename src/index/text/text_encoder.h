#pragma once

#include <cstdint>

#include "common/bytes.h"
#include "index/text/term_table.h"

namespace molesignal {

/// Dictionary, postings and patterns of a field, as docs/formats/index.md has them.
struct EncodedTerms {
    ByteBuffer dictionary;
    ByteBuffer dictionary_index;
    ByteBuffer postings;
    ByteBuffer pattern_index;
    ByteBuffer sequences;  ///< Empty: the order of terms is not known.
    std::uint64_t terms = 0;
    std::uint64_t tokens = 0;  ///< Terms that are tokens.
    std::uint64_t patterns = 0;
    bool odd_case = false;  ///< A token has a letter that is i, k or s in another case.
};

EncodedTerms encode_terms(const TermTable& table, const RowTerms& row_terms, std::uint32_t rows);

/// About what encode_terms allocates for so many terms and terms of rows.
std::size_t text_encoder_bytes(std::uint64_t terms, std::uint64_t row_terms, std::uint32_t rows);

}  // namespace molesignal
