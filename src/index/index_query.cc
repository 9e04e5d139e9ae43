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

/// Prints a query into a bounded text.
class QueryText {
public:
    explicit QueryText(const std::function<std::string(FieldId)>& name_of) : name_of_(name_of) {}

    void add(const IndexQuery& query, std::size_t depth) {
        if (text_.size() > kBytesMax || depth > IndexQuery::kDepthMax) {
            text_ += text_.ends_with("…") ? "" : "…";
            return;
        }
        const auto field = [&] { return name_of_(query.field); };
        switch (query.kind) {
            case IndexQuery::Kind::kAll:
                return add_joined(query.children, " AND ", "anything", depth);
            case IndexQuery::Kind::kAny:
                return add_joined(query.children, " OR ", "nothing", depth);
            case IndexQuery::Kind::kNeeds:
                text_ += query.test == nullptr ? "needs " : "a test of " + field() + ", needs ";
                return add_joined(query.children, " AND ", "nothing", depth);
            case IndexQuery::Kind::kNot:
                text_ += "NOT ";
                return add_joined(query.children, " AND ", "anything", depth);
            case IndexQuery::Kind::kPresent:
                text_ += field() + " IS NOT NULL";
                return;
            case IndexQuery::Kind::kPhrase:
                text_ += field() + " has ";
                return add_texts(query.texts, " ", query.last_is_prefix ? "*'" : "'");
            case IndexQuery::Kind::kContains:
                text_ += field() + (query.ignore_case ? " contains in any case " : " contains ");
                return add_texts(query.texts, " ", "'");
            case IndexQuery::Kind::kEquals:
                text_ += field() + " = ";
                return add_texts(query.texts, "' or '", "'");
        }
    }
    std::string take() && { return std::move(text_); }

private:
    static constexpr std::size_t kBytesMax = 2'000;
    static constexpr std::size_t kShownBytesMax = 80;  ///< Of a text of the query.

    void add_joined(const std::vector<IndexQuery>& children,
                    std::string_view joiner,
                    std::string_view if_empty,
                    std::size_t depth) {
        text_ += children.empty() ? if_empty : "";
        text_ += children.size() > 1 ? "(" : "";
        for (std::size_t i = 0; i < children.size() && text_.size() <= kBytesMax; ++i) {
            text_ += i == 0 ? "" : joiner;
            add(children[i], depth + 1);
        }
        text_ += children.size() > 1 ? ")" : "";
    }
    void add_texts(const std::vector<std::string>& texts,
                   std::string_view joiner,
                   std::string_view end) {
        text_ += "'";
        for (std::size_t i = 0; i < texts.size() && text_.size() <= kBytesMax; ++i) {
            text_ += i == 0 ? "" : joiner;
            text_ += shown(texts[i]);
        }
        text_ += end;
    }
    /// Cut between characters.
    static std::string shown(const std::string& text) {
        if (text.size() <= kShownBytesMax) {
            return text;
        }
        auto end = kShownBytesMax;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) {
            --end;
        }
        return text.substr(0, end) + "…";
    }

    const std::function<std::string(FieldId)>& name_of_;
    std::string text_;
};

}  // namespace

std::string describe(const IndexQuery& query, const std::function<std::string(FieldId)>& name_of) {
    QueryText text(name_of);
    text.add(query, 0);
    return std::move(text).take();
}

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

IndexQuery IndexQuery::passing(FieldId field, ValueTest test, std::vector<IndexQuery> children) {
    auto query = needs(std::move(children));
    query.field = field;
    query.test = std::make_shared<const ValueTest>(std::move(test));
    return query;
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
