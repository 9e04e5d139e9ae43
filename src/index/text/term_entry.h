#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "index/coding.h"

namespace molesignal {

/// Where the rows of a term are. The values reach disk.
enum class RowsForm : std::uint8_t {
    kOneRow = 0,    ///< In the entry.
    kOwnList = 1,   ///< A list behind the one of the entry before.
    kSameList = 2,  ///< A list that another term has too.
    kPatterns = 3,  ///< A list of patterns.
};

/// A term of the dictionary.
struct TermEntry {
    std::uint64_t rows = 0;  ///< How many have the term.
    RowsForm form = RowsForm::kOneRow;
    std::uint32_t row = 0;       ///< Of kOneRow.
    std::uint64_t offset = 0;    ///< The list in the postings, otherwise.
    std::uint64_t bytes = 0;     ///< Of the list.
    std::uint64_t patterns = 0;  ///< Of kPatterns: numbers in the list.
};

/// Appends an entry: the term as the length of what it shares with the one before and the rest,
/// then `entry`. `previous` becomes the term; "" begins a block.
void append_term(ByteBuffer& out,
                 std::string_view term,
                 const TermEntry& entry,
                 std::string& previous);

/// Reads the entries of a dictionary block, which may be damaged, in order.
class TermCursor {
public:
    /// `lists_begin`: where the first list of its own lies in the postings; `rows` of the part.
    TermCursor(Bytes block, std::uint64_t lists_begin, std::uint32_t rows)
        : in_(block), next_list_(lists_begin), rows_(rows) {}
    /// False at the end and at damage: then ok() says which.
    bool next();
    bool ok() const { return in_.ok(); }
    std::string_view term() const { return {term_, term_bytes_}; }
    const TermEntry& entry() const { return entry_; }

private:
    ByteReader in_;
    std::uint64_t next_list_;
    std::uint32_t rows_;
    char term_[64] = {};
    std::size_t term_bytes_ = 0;
    TermEntry entry_;
};

}  // namespace molesignal
