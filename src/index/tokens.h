#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace molesignal {

/// What a token is: the rules that `match`, hot rows and index sidecars share.
///
/// A token is a run of letters, digits and '_'; every byte from 0x80 on counts as a letter. Letters
/// are compared without case: ASCII, Latin-1, Greek and Cyrillic, character by character and never
/// changing the length of a text. What is folded is a lead byte with its continuation byte, so the
/// folded form of a piece of text is that piece of the folded text, unless a cut splits a
/// character.
///
/// A sidecar records both numbers; one that has others is not used.
inline constexpr std::uint32_t kTokenizerId = 1;
inline constexpr std::uint32_t kTokenizerVersion = 1;

/// Separates texts that were joined: no phrase reaches across it. Not a token byte.
inline constexpr char kTextBoundary = '\x1e';

bool is_token_byte(char character);

/// Appends `text` with its letters folded. Folding twice changes nothing more.
void fold_case(std::string_view text, std::string& out);

/// Moves `at` behind the separators to the next token; false at a boundary or the end.
bool next_token(std::string_view folded, std::size_t& at);

/// The end of the token that holds the byte at `at`.
std::size_t token_end(std::string_view folded, std::size_t at);

/// The tokens of a folded text.
std::vector<std::string> tokens_of(std::string_view folded);

/// Whether `token` (folded) is one of the ids and long numbers that an index keeps by their hash
/// and not in its dictionary: 5 or more hex digits with a decimal digit among them.
bool is_hashed_token(std::string_view token);

/// Whether every byte is a hex digit [0-9a-f]: what begins or continues such a token.
bool is_hex_text(std::string_view text);

/// Finds the folded tokens of one text after the other; for ingest, where it is the hot loop: one
/// pass over 32 bytes at a time folds and marks the token bytes, a second takes the tokens' bounds
/// from the marks. One thread at a time.
class TokenScanner {
public:
    /// Bytes behind a token that may be read (and mean nothing).
    static constexpr std::size_t kPaddingBytes = 64;

    /// Returns the number of tokens of `text`; valid until the next call.
    std::size_t scan(std::string_view text);
    std::string_view token(std::size_t i) const {
        return {folded_.data() + edges_[2 * i], edges_[2 * i + 1] - edges_[2 * i]};
    }
    std::size_t capacity_bytes() const;

private:
    void fold_and_mark(std::string_view text);
    std::size_t find_edges(std::size_t size);
    std::vector<char> folded_;
    std::vector<std::uint64_t> marks_;  ///< A bit a byte: it belongs to a token.
    std::vector<std::uint32_t> edges_;  ///< Begin and end of each token.
};

}  // namespace molesignal
