#include "index/tokens.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::array<bool, 256> make_token_bytes() {
    std::array<bool, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        table[byte] = byte >= 0x80 || (byte >= '0' && byte <= '9') ||
                      (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
    }
    return table;
}
constexpr auto kTokenBytes = make_token_bytes();

/// 1 for a hex digit that is a letter, 3 for a decimal digit.
constexpr std::array<std::uint8_t, 256> make_hex_bytes() {
    std::array<std::uint8_t, 256> table{};
    for (unsigned byte = 'a'; byte <= 'f'; ++byte) {
        table[byte] = 1;
    }
    for (unsigned byte = '0'; byte <= '9'; ++byte) {
        table[byte] = 3;
    }
    return table;
}
constexpr auto kHexBytes = make_hex_bytes();

constexpr std::size_t kHashedTokenBytesMin = 5;

/// The lower-case form of a two-byte character of UTF-8, or the same.
unsigned fold_two_bytes(unsigned character) {
    if ((character >= 0xc0 && character <= 0xde && character != 0xd7) ||
        (character >= 0x391 && character <= 0x3a9) || (character >= 0x410 && character <= 0x42f)) {
        return character + 0x20;
    }
    if (character >= 0x400 && character <= 0x40f) {
        return character + 0x50;
    }
    return character;
}

/// Folds the characters of two bytes in place.
void fold_wide(char* bytes, std::size_t size) {
    for (std::size_t i = 0; i + 1 < size; ++i) {
        const auto lead = static_cast<unsigned char>(bytes[i]);
        const auto next = static_cast<unsigned char>(bytes[i + 1]);
        if (lead < 0xc3 || lead > 0xd0 || (next & 0xc0U) != 0x80U) {
            continue;
        }
        const auto folded = fold_two_bytes((lead & 0x1fU) << 6U | (next & 0x3fU));
        bytes[i] = static_cast<char>(0xc0U | folded >> 6U);
        bytes[i + 1] = static_cast<char>(0x80U | (folded & 0x3fU));
        ++i;
    }
}

}  // namespace

bool is_token_byte(char character) {
    return kTokenBytes[static_cast<unsigned char>(character)];
}

void fold_case(std::string_view text, std::string& out) {
    const auto base = out.size();
    out.append(text);
    auto* bytes = out.data() + base;
    unsigned any = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        any |= byte;
        bytes[i] = static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 0x20 : byte);
    }
    if ((any & 0x80U) != 0) {
        fold_wide(bytes, text.size());
    }
}

bool next_token(std::string_view folded, std::size_t& at) {
    while (at < folded.size() && !is_token_byte(folded[at])) {
        if (folded[at] == kTextBoundary) {
            return false;
        }
        ++at;
    }
    return at < folded.size();
}

std::size_t token_end(std::string_view folded, std::size_t at) {
    while (at < folded.size() && is_token_byte(folded[at])) {
        ++at;
    }
    return at;
}

std::vector<std::string> tokens_of(std::string_view folded) {
    std::vector<std::string> tokens;
    for (std::size_t at = 0; at < folded.size();) {
        if (!is_token_byte(folded[at])) {
            ++at;
            continue;
        }
        const auto end = token_end(folded, at);
        tokens.emplace_back(folded.substr(at, end - at));
        at = end;
    }
    return tokens;
}

bool is_hashed_token(std::string_view token) {
    if (token.size() < kHashedTokenBytesMin) {
        return false;
    }
    unsigned all = 1;
    unsigned any = 0;
    for (const char character : token) {
        const auto kind = kHexBytes[static_cast<unsigned char>(character)];
        all &= kind;
        any |= kind;
        if (all == 0) {
            return false;
        }
    }
    return any == 3;
}

bool is_hex_text(std::string_view text) {
    return std::ranges::all_of(
        text, [](char byte) { return kHexBytes[static_cast<unsigned char>(byte)] != 0; });
}

std::size_t TokenScanner::capacity_bytes() const {
    return folded_.capacity() + marks_.capacity() * sizeof(std::uint64_t) +
           edges_.capacity() * sizeof(std::uint32_t);
}

std::size_t TokenScanner::scan(std::string_view text) {
    MS_ASSERT(text.size() < UINT32_MAX - kPaddingBytes);
    const auto words = text.size() / 64 + 1;
    if (folded_.size() < words * 64 + kPaddingBytes) {
        const auto grown = std::bit_ceil(words);
        folded_.resize(grown * 64 + kPaddingBytes);
        marks_.resize(grown);
        // A token and a separator take two bytes at least.
        edges_.resize(grown * 64 + 2);
    }
    fold_and_mark(text);
    return find_edges(text.size());
}

#if defined(__AVX2__)

void TokenScanner::fold_and_mark(std::string_view text) {
    const auto size = text.size();
    std::memcpy(folded_.data(), text.data(), size);
    // The rest of the last block is separators.
    std::memset(folded_.data() + size, 0, (size / 64 + 1) * 64 - size);
    const auto below_a = _mm256_set1_epi8('a' - 1);
    const auto above_z = _mm256_set1_epi8('z' + 1);
    const auto below_upper = _mm256_set1_epi8('A' - 1);
    const auto above_upper = _mm256_set1_epi8('Z' + 1);
    const auto below_0 = _mm256_set1_epi8('0' - 1);
    const auto above_9 = _mm256_set1_epi8('9' + 1);
    const auto underscore = _mm256_set1_epi8('_');
    const auto space_bit = _mm256_set1_epi8(0x20);
    unsigned wide = 0;
    auto* at = reinterpret_cast<__m256i*>(folded_.data());
    for (std::size_t word = 0; word <= size / 64; ++word) {
        std::uint64_t marks = 0;
        for (unsigned half = 0; half < 2; ++half, ++at) {
            const auto bytes = _mm256_loadu_si256(at);
            // Bytes from 0x80 on are negative here, below all that is compared.
            const auto upper = _mm256_and_si256(_mm256_cmpgt_epi8(bytes, below_upper),
                                                _mm256_cmpgt_epi8(above_upper, bytes));
            const auto lower = _mm256_or_si256(bytes, _mm256_and_si256(upper, space_bit));
            const auto letter = _mm256_and_si256(_mm256_cmpgt_epi8(lower, below_a),
                                                 _mm256_cmpgt_epi8(above_z, lower));
            const auto digit = _mm256_and_si256(_mm256_cmpgt_epi8(lower, below_0),
                                                _mm256_cmpgt_epi8(above_9, lower));
            const auto token = _mm256_or_si256(_mm256_or_si256(letter, digit),
                                               _mm256_cmpeq_epi8(lower, underscore));
            _mm256_storeu_si256(at, lower);
            const auto high = static_cast<unsigned>(_mm256_movemask_epi8(bytes));
            wide |= high;
            marks |= std::uint64_t{static_cast<unsigned>(_mm256_movemask_epi8(token)) | high}
                     << 32U * half;
        }
        marks_[word] = marks;
    }
    if (wide != 0) {
        fold_wide(folded_.data(), size);
    }
}

#else

void TokenScanner::fold_and_mark(std::string_view text) {
    unsigned any = 0;
    std::fill_n(marks_.begin(), text.size() / 64 + 1, 0);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        any |= byte;
        folded_[i] = static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 0x20 : byte);
        marks_[i / 64] |= std::uint64_t{kTokenBytes[byte]} << i % 64;
    }
    if ((any & 0x80U) != 0) {
        fold_wide(folded_.data(), text.size());
    }
}

#endif

std::size_t TokenScanner::find_edges(std::size_t size) {
    auto* out = edges_.data();
    std::uint64_t before = 0;  // Whether the byte before belongs to a token.
    for (std::size_t word = 0; word <= size / 64; ++word) {
        const auto marks = marks_[word];
        auto changes = marks ^ (marks << 1U | before);
        before = marks >> 63U;
        while (changes != 0) {
            *out++ = static_cast<std::uint32_t>(word * 64 +
                                                static_cast<unsigned>(std::countr_zero(changes)));
            changes &= changes - 1;
        }
    }
    // The last word ends with a separator, so every token has its end.
    return static_cast<std::size_t>(out - edges_.data()) / 2;
}

}  // namespace molesignal
