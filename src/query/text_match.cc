#include "query/text_match.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "index/tokens.h"

namespace molesignal {
namespace {

/// Whether the token in [at, end) is `token` (or begins with it).
bool is_token(std::string_view folded,
              std::size_t at,
              std::size_t end,
              const std::string& token,
              bool prefix) {
    return (prefix ? end - at >= token.size() : end - at == token.size()) &&
           folded.compare(at, token.size(), token) == 0;
}

}  // namespace

Result<> TextMatch::add_term(std::string_view text, bool prefix, bool negated) {
    std::string folded;
    fold_case(text, folded);
    Term term{.tokens = tokens_of(folded), .prefix = prefix, .negated = negated};
    words_ += term.tokens.size();
    if (words_ > kWordsMax) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("match: more than {} words", kWordsMax));
    }
    for (const auto& token : term.tokens) {
        if (token.size() > kWordBytesMax) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format(
                    "match: a word of {} bytes, the limit is {}", token.size(), kWordBytesMax));
        }
    }
    if (!term.tokens.empty()) {
        terms_.push_back(std::move(term));
    }
    return {};
}

Result<TextMatch> TextMatch::parse(std::string_view query) {
    TextMatch match;
    std::size_t at = 0;
    while (at < query.size()) {
        if (query[at] == ' ' || query[at] == '\t' || query[at] == '\n' || query[at] == '\r') {
            ++at;
            continue;
        }
        bool negated = false;
        if (query[at] == '-' && at + 1 < query.size() && query[at + 1] != ' ') {
            negated = true;
            ++at;
        }
        if (query[at] == '"') {
            const auto end = query.find('"', at + 1);
            if (end == std::string_view::npos) {
                return Error(ErrorCode::kInvalidArgument,
                             fmt::format("match: the quote at byte {} is not closed", at));
            }
            MS_TRY_VOID(match.add_term(query.substr(at + 1, end - at - 1), false, negated));
            at = end + 1;
        } else {
            const auto end = std::min(query.find_first_of(" \t\n\r\"", at), query.size());
            auto text = query.substr(at, end - at);
            at = end;
            const bool prefix = text.ends_with('*');
            text.remove_suffix(prefix ? 1 : 0);
            MS_TRY_VOID(match.add_term(text, prefix, negated));
        }
    }
    if (match.terms_.empty()) {
        return Error(ErrorCode::kInvalidArgument, "match: there is no word to look for");
    }
    return match;
}

bool TextMatch::contains(std::string_view folded, const Term& term) {
    const auto& first = term.tokens.front();
    const bool only = term.tokens.size() == 1;
    for (std::size_t from = 0; from < folded.size();) {
        const auto* found = static_cast<const char*>(
            ::memmem(folded.data() + from, folded.size() - from, first.data(), first.size()));
        if (found == nullptr) {
            return false;
        }
        const auto begin = static_cast<std::size_t>(found - folded.data());
        // Whatever comes of it, no token begins before this one's end: each is looked at once.
        auto end = token_end(folded, begin);
        from = end;
        bool good = (begin == 0 || !is_token_byte(folded[begin - 1])) &&
                    is_token(folded, begin, end, first, term.prefix && only);
        for (std::size_t i = 1; good && i < term.tokens.size(); ++i) {
            auto at = end;
            good = next_token(folded, at);
            end = token_end(folded, at);
            good = good &&
                   is_token(
                       folded, at, end, term.tokens[i], term.prefix && i + 1 == term.tokens.size());
        }
        if (good) {
            return true;
        }
    }
    return false;
}

IndexQuery TextMatch::index_query(FieldId field) const {
    std::vector<IndexQuery> conditions;
    bool present = false;
    for (const auto& term : terms_) {
        auto phrase = IndexQuery::phrase(field, term.tokens);
        phrase.last_is_prefix = term.prefix;
        present = present || !term.negated;
        conditions.push_back(term.negated ? IndexQuery::negation(std::move(phrase))
                                          : std::move(phrase));
    }
    if (!present) {
        // Only words that must not be there: a row without a text has none of them, and no match.
        conditions.push_back(IndexQuery::present(field));
    }
    return IndexQuery::all(std::move(conditions));
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
