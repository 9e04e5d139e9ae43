#include "query/text_match.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

namespace molesignal {
namespace {

constexpr std::size_t kTermsMax = 64;
constexpr char kBoundary = '\x1e';

constexpr std::array<bool, 256> make_token_bytes() {
    std::array<bool, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        table[byte] = byte >= 0x80 || (byte >= '0' && byte <= '9') ||
                      (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
    }
    return table;
}
constexpr auto kTokenBytes = make_token_bytes();

bool is_token_byte(char character) {
    return kTokenBytes[static_cast<unsigned char>(character)];
}

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

std::vector<std::string> tokens_of(std::string_view folded) {
    std::vector<std::string> tokens;
    for (std::size_t at = 0; at < folded.size();) {
        if (!is_token_byte(folded[at])) {
            ++at;
            continue;
        }
        auto end = at;
        while (end < folded.size() && is_token_byte(folded[end])) {
            ++end;
        }
        tokens.emplace_back(folded.substr(at, end - at));
        at = end;
    }
    return tokens;
}

/// Moves `at` behind the separators to the next token; false at a boundary or the end.
bool next_token(std::string_view folded, std::size_t& at) {
    while (at < folded.size() && !is_token_byte(folded[at])) {
        if (folded[at] == kBoundary) {
            return false;
        }
        ++at;
    }
    return at < folded.size();
}

/// Whether the token at `at` is `token` (or begins with it); moves behind it.
bool take_token(std::string_view folded, std::size_t& at, const std::string& token, bool prefix) {
    if (folded.compare(at, token.size(), token) != 0) {
        return false;
    }
    auto end = at + token.size();
    if (!prefix && end < folded.size() && is_token_byte(folded[end])) {
        return false;
    }
    while (end < folded.size() && is_token_byte(folded[end])) {
        ++end;
    }
    at = end;
    return true;
}

}  // namespace

void fold_case(std::string_view text, std::string& out) {
    const auto base = out.size();
    out.append(text);
    auto* bytes = out.data() + base;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        if (byte >= 'A' && byte <= 'Z') {
            bytes[i] = static_cast<char>(byte + 0x20);
        } else if (byte >= 0xc3 && byte <= 0xd0 && i + 1 < text.size()) {
            const auto next = static_cast<unsigned char>(bytes[i + 1]);
            const auto folded = fold_two_bytes((byte & 0x1fU) << 6U | (next & 0x3fU));
            bytes[i] = static_cast<char>(0xc0U | folded >> 6U);
            bytes[i + 1] = static_cast<char>(0x80U | (folded & 0x3fU));
            ++i;
        }
    }
}

Result<TextMatch> TextMatch::parse(std::string_view query) {
    TextMatch match;
    std::size_t at = 0;
    while (at < query.size()) {
        if (query[at] == ' ' || query[at] == '\t' || query[at] == '\n' || query[at] == '\r') {
            ++at;
            continue;
        }
        Term term;
        if (query[at] == '-' && at + 1 < query.size() && query[at + 1] != ' ') {
            term.negated = true;
            ++at;
        }
        std::string_view text;
        if (query[at] == '"') {
            const auto end = query.find('"', at + 1);
            if (end == std::string_view::npos) {
                return Error(ErrorCode::kInvalidArgument,
                             fmt::format("match: the quote at byte {} is not closed", at));
            }
            text = query.substr(at + 1, end - at - 1);
            at = end + 1;
        } else {
            const auto end = std::min(query.find_first_of(" \t\n\r\"", at), query.size());
            text = query.substr(at, end - at);
            at = end;
            if (text.ends_with('*')) {
                term.prefix = true;
                text.remove_suffix(1);
            }
        }
        std::string folded;
        fold_case(text, folded);
        term.tokens = tokens_of(folded);
        if (term.tokens.empty()) {
            continue;
        }
        if (match.terms_.size() == kTermsMax) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("match: more than {} terms", kTermsMax));
        }
        match.terms_.push_back(std::move(term));
    }
    if (match.terms_.empty()) {
        return Error(ErrorCode::kInvalidArgument, "match: there is no word to look for");
    }
    return match;
}

bool TextMatch::contains(std::string_view folded, const Term& term) {
    const auto& first = term.tokens.front();
    const bool only = term.tokens.size() == 1;
    for (std::size_t from = 0;;) {
        const auto* found = static_cast<const char*>(
            ::memmem(folded.data() + from, folded.size() - from, first.data(), first.size()));
        if (found == nullptr) {
            return false;
        }
        const auto begin = static_cast<std::size_t>(found - folded.data());
        from = begin + 1;
        if (begin > 0 && is_token_byte(folded[begin - 1])) {
            continue;
        }
        auto at = begin;
        bool good = take_token(folded, at, first, term.prefix && only);
        for (std::size_t i = 1; good && i < term.tokens.size(); ++i) {
            good =
                next_token(folded, at) &&
                take_token(folded, at, term.tokens[i], term.prefix && i + 1 == term.tokens.size());
        }
        if (good) {
            return true;
        }
    }
}

bool TextMatch::matches(std::string_view text) const {
    thread_local std::string folded;
    folded.clear();
    fold_case(text, folded);
    for (const auto& term : terms_) {
        if (contains(folded, term) == term.negated) {
            return false;
        }
    }
    return true;
}

}  // namespace molesignal
