#include "index/index_query.h"

#include "index/tokens.h"

namespace molesignal {
namespace {

bool is_wide(char byte) {
    return static_cast<unsigned char>(byte) >= 0x80;
}

/// Whether another character than the folded byte itself may stand for it in a text.
bool may_differ(char byte, bool ignore_case, bool odd_case) {
    return ignore_case &&
           (is_wide(byte) || (odd_case && (byte == 'i' || byte == 'k' || byte == 's')));
}

}  // namespace

IndexQuery IndexQuery::all(std::vector<IndexQuery> children) {
    return {.kind = Kind::kAll, .children = std::move(children)};
}

IndexQuery IndexQuery::any(std::vector<IndexQuery> children) {
    return {.kind = Kind::kAny, .children = std::move(children)};
}

IndexQuery IndexQuery::negation(IndexQuery child) {
    IndexQuery query{.kind = Kind::kNot};
    query.children.push_back(std::move(child));
    return query;
}

IndexQuery IndexQuery::needs(std::vector<IndexQuery> children) {
    return {.kind = Kind::kNeeds, .children = std::move(children)};
}

IndexQuery IndexQuery::present(FieldId field) {
    return {.kind = Kind::kPresent, .field = field};
}

IndexQuery IndexQuery::token(FieldId field, std::string_view token) {
    return phrase(field, {std::string(token)});
}

IndexQuery IndexQuery::prefix(FieldId field, std::string_view prefix) {
    auto query = phrase(field, {std::string(prefix)});
    query.last_is_prefix = true;
    return query;
}

IndexQuery IndexQuery::phrase(FieldId field, std::vector<std::string> tokens) {
    return {.kind = Kind::kPhrase, .field = field, .texts = std::move(tokens)};
}

IndexQuery IndexQuery::contains(FieldId field, std::string_view literal, bool ignore_case) {
    return {.kind = Kind::kContains,
            .field = field,
            .texts = {std::string(literal)},
            .ignore_case = ignore_case};
}

IndexQuery IndexQuery::equals(FieldId field, std::string_view value) {
    return one_of(field, {std::string(value)});
}

IndexQuery IndexQuery::one_of(FieldId field, std::vector<std::string> values) {
    return {.kind = Kind::kEquals, .field = field, .texts = std::move(values)};
}

std::vector<LiteralPiece> literal_pieces(std::string_view literal,
                                         bool ignore_case,
                                         bool odd_case) {
    std::string folded;
    fold_case(literal, folded);
    std::string_view text = folded;
    // A character that the literal's ends cut in two may be folded with its other half in a text.
    if (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xc0U) == 0x80U) {
        text.remove_prefix(1);
    }
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0U) {
        text.remove_suffix(1);
    }
    std::vector<LiteralPiece> pieces;
    for (std::size_t at = 0; at < text.size();) {
        if (!is_token_byte(text[at]) || may_differ(text[at], ignore_case, odd_case)) {
            ++at;
            continue;
        }
        auto end = at;
        while (end < text.size() && is_token_byte(text[end]) &&
               !may_differ(text[end], ignore_case, odd_case)) {
            ++end;
        }
        pieces.push_back({.text = std::string(text.substr(at, end - at)),
                          .begins = at > 0 && !is_token_byte(text[at - 1]),
                          .ends = end < text.size() && !is_token_byte(text[end])});
        at = end;
    }
    return pieces;
}

}  // namespace molesignal
