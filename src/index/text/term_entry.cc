#include "index/text/term_entry.h"

#include <algorithm>

#include "index/sidecar_format.h"

namespace molesignal {
namespace {

constexpr unsigned kFormBits = 2;

}  // namespace

void append_term(ByteBuffer& out,
                 std::string_view term,
                 const TermEntry& entry,
                 std::string& previous) {
    const auto differ = std::ranges::mismatch(previous, term);
    const auto shared = static_cast<std::size_t>(differ.in1 - previous.begin());
    append_varint(out, shared);
    append_text(out, term.substr(shared));
    append_varint(out, entry.rows << kFormBits | static_cast<unsigned>(entry.form));
    switch (entry.form) {
        case RowsForm::kOneRow:
            append_varint(out, entry.row);
            break;
        case RowsForm::kOwnList:
            append_varint(out, entry.bytes);
            break;
        case RowsForm::kSameList:
            append_varint(out, entry.offset);
            append_varint(out, entry.bytes);
            break;
        case RowsForm::kPatterns:
            append_varint(out, entry.patterns);
            append_varint(out, entry.bytes);
            break;
    }
    previous = term;
}

bool TermCursor::next() {
    if (in_.left() == 0) {
        return false;
    }
    const auto shared = static_cast<std::size_t>(in_.varint(term_bytes_));
    const auto rest = in_.text(kTermBytesMax - shared);
    // Terms ascend: what follows the shared bytes is larger than what was there.
    if (!in_.ok() || rest.empty() ||
        (shared < term_bytes_ &&
         static_cast<unsigned char>(rest[0]) <= static_cast<unsigned char>(term_[shared]))) {
        in_.fail();
        return false;
    }
    std::ranges::copy(rest, term_ + shared);
    term_bytes_ = shared + rest.size();
    const auto head = in_.varint(std::uint64_t{rows_} << kFormBits | 3U);
    entry_ = {.rows = head >> kFormBits, .form = static_cast<RowsForm>(head & 3U)};
    switch (entry_.form) {
        case RowsForm::kOneRow:
            entry_.row = static_cast<std::uint32_t>(in_.varint(rows_ - 1));
            break;
        case RowsForm::kSameList:
            entry_.offset = in_.varint();
            entry_.bytes = in_.varint(UINT32_MAX);
            break;
        case RowsForm::kPatterns:
            entry_.patterns = in_.varint(kPatternsMax);
            [[fallthrough]];
        case RowsForm::kOwnList:
            entry_.offset = next_list_;
            entry_.bytes = in_.varint(UINT32_MAX);
            next_list_ += entry_.bytes;
            break;
    }
    if (entry_.rows == 0 || (entry_.form == RowsForm::kOneRow && entry_.rows != 1)) {
        in_.fail();
    }
    return in_.ok();
}

}  // namespace molesignal
