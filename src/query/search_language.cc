#include "query/search_language.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/utf8.h"

namespace molesignal {
namespace {

constexpr std::string_view kBlanks = " \t\n\r";
constexpr std::string_view kWordEnds = " \t\n\r()\"";
constexpr std::string_view kKeywords[] = {"AND", "OR", "NOT", "TO"};

bool is_blank(char character) {
    return kBlanks.find(character) != std::string_view::npos;
}

Error problem_at(std::size_t at, std::string_view what) {
    return {ErrorCode::kInvalidArgument, fmt::format("search, byte {}: {}", at, what)};
}

Error beyond(std::size_t at, std::string_view what, std::size_t most) {
    return problem_at(at,
                      fmt::format("more than {} {}, the most that a search may have", most, what));
}

/// A node of `kind`; children of the same kind become its own.
SearchNode join(SearchNode::Kind kind, std::size_t at, std::vector<SearchNode> children) {
    if (children.size() == 1) {
        return std::move(children.front());
    }
    SearchNode node{.kind = kind, .at = at, .term = {}, .children = {}};
    for (auto& child : children) {
        if (child.kind == kind) {
            std::ranges::move(child.children, std::back_inserter(node.children));
        } else {
            node.children.push_back(std::move(child));
        }
    }
    return node;
}

/// Recursive descent; the depth is bounded by kSearchDepthMax. Within `field:(…)` the words are
/// values of the field.
class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Result<SearchNode> run() {
        skip_blanks();
        if (at_end()) {
            return SearchNode{};
        }
        MS_TRY(auto node, parse_or());
        if (!at_end()) {
            return problem_at(at_, "this ')' closes nothing; put text with brackets in quotes");
        }
        return node;
    }

private:
    bool at_end() const { return at_ >= text_.size(); }
    char now() const { return at_end() ? '\0' : text_[at_]; }
    char following() const { return at_ + 1 < text_.size() ? text_[at_ + 1] : '\0'; }
    void skip_blanks() {
        while (!at_end() && is_blank(now())) {
            ++at_;
        }
    }
    /// The end of the word at `at_`, which stops at any of `ends`.
    std::string_view look_word(std::string_view ends) const {
        return text_.substr(at_, std::min(text_.find_first_of(ends, at_), text_.size()) - at_);
    }
    bool is_keyword(std::string_view keyword) const { return look_word(kWordEnds) == keyword; }
    bool take_keyword(std::string_view keyword) {
        if (!is_keyword(keyword)) {
            return false;
        }
        at_ += keyword.size();
        skip_blanks();
        return true;
    }

    Result<SearchNode> parse_or() {
        const auto begin = at_;
        std::vector<SearchNode> children;
        do {
            MS_TRY(auto child, parse_and());
            children.push_back(std::move(child));
        } while (take_keyword("OR"));
        return join(SearchNode::Kind::kOr, begin, std::move(children));
    }

    Result<SearchNode> parse_and() {
        const auto begin = at_;
        std::vector<SearchNode> children;
        do {
            MS_TRY(auto child, parse_not());
            children.push_back(std::move(child));
            skip_blanks();
        } while (take_keyword("AND") || (!at_end() && now() != ')' && !is_keyword("OR")));
        return join(SearchNode::Kind::kAnd, begin, std::move(children));
    }

    Result<SearchNode> parse_not() {
        const auto begin = at_;
        const bool minus = now() == '-' && following() != '\0' && following() != '-' &&
                           following() != ')' && !is_blank(following());
        if (minus) {
            ++at_;
        } else if (!take_keyword("NOT")) {
            return parse_operand();
        }
        MS_TRY_VOID(go_down(begin));
        MS_TRY(auto child, parse_not());
        --depth_;
        SearchNode node{.kind = SearchNode::Kind::kNot, .at = begin, .term = {}, .children = {}};
        node.children.push_back(std::move(child));
        return node;
    }

    Result<SearchNode> parse_operand() {
        if (at_end() || now() == ')' || is_keyword("AND") || is_keyword("OR")) {
            return problem_at(at_, "a word or a condition is missing here");
        }
        if (now() == '(') {
            return parse_group();
        }
        if (field_.has_value()) {
            return parse_value();
        }
        const auto begin = at_;
        if (now() == '"') {
            MS_TRY(auto text, read_quoted());
            return now() == ':' ? parse_field(std::move(text), begin)
                                : add_term(begin, {.value = std::move(text)});
        }
        const auto word = look_word(" \t\n\r()\":");
        at_ += word.size();
        if (now() == ':') {
            return parse_field(std::string(word), begin);
        }
        if (word == "*") {
            MS_TRY_VOID(count_term(begin));
            return SearchNode{.kind = SearchNode::Kind::kAll, .at = begin};
        }
        return add_word(begin, word);
    }

    Result<SearchNode> parse_group() {
        const auto begin = at_++;
        MS_TRY_VOID(go_down(begin));
        skip_blanks();
        if (now() == ')') {
            return problem_at(begin, "empty parentheses; put text with brackets in quotes");
        }
        MS_TRY(auto node, parse_or());
        if (now() != ')') {
            return problem_at(begin, "this '(' is not closed; put text with brackets in quotes");
        }
        ++at_;
        --depth_;
        return node;
    }

    /// Behind a field's name, at the ':'.
    Result<SearchNode> parse_field(std::string name, std::size_t begin) {
        if (name.empty()) {
            return problem_at(begin, "a field's name is missing before ':'");
        }
        ++at_;
        field_ = std::move(name);
        const bool is_group = now() == '(';
        auto node = is_group ? parse_group() : parse_value();
        field_.reset();
        if (node && !is_group) {
            node->at = begin;
        }
        return node;
    }

    Result<SearchNode> parse_value() {
        const auto begin = at_;
        switch (now()) {
            case '"': {
                MS_TRY(auto text, read_quoted());
                return add_term(begin, {.value = std::move(text)});
            }
            case '[':
            case '{':
                return parse_range();
            case '<':
            case '>':
                return parse_comparison();
            case '/':
                return parse_regex();
            default:
                break;
        }
        const auto word = look_word(kWordEnds);
        if (word.empty()) {
            return problem_at(begin,
                              fmt::format("a value is missing after '{}:'; to find the text "
                                          "itself put it in quotes",
                                          field_.value_or("")));
        }
        at_ += word.size();
        return word == "*" ? add_term(begin, {.kind = SearchTerm::Kind::kExists})
                           : add_word(begin, word);
    }

    Result<SearchNode> parse_comparison() {
        const auto begin = at_;
        const bool is_low = now() == '>';
        ++at_;
        const bool inclusive = now() == '=';
        at_ += inclusive ? 1 : 0;
        MS_TRY(auto value, read_bound(kWordEnds));
        if (!value.has_value()) {
            return problem_at(at_, "a value is missing here");
        }
        SearchTerm term{.kind = SearchTerm::Kind::kRange};
        (is_low ? term.low : term.high) =
            SearchBound{.value = std::move(*value), .inclusive = inclusive};
        return add_term(begin, std::move(term));
    }

    Result<SearchNode> parse_range() {
        const auto begin = at_;
        const bool low_inclusive = now() == '[';
        ++at_;
        skip_blanks();
        MS_TRY(auto low, read_bound(" \t\n\r\"]}"));
        skip_blanks();
        if (!take_keyword("TO")) {
            return problem_at(at_, "a range is written [low TO high], '*' for an open end");
        }
        MS_TRY(auto high, read_bound(" \t\n\r\"]}"));
        skip_blanks();
        if (now() != ']' && now() != '}') {
            return problem_at(begin, "this range is not closed by ']' or '}'");
        }
        const bool high_inclusive = now() == ']';
        ++at_;
        if (!low.has_value() && !high.has_value()) {
            return problem_at(begin, "a range needs an end; field:* asks whether there is a value");
        }
        SearchTerm term{.kind = SearchTerm::Kind::kRange};
        if (low.has_value()) {
            term.low = SearchBound{.value = std::move(*low), .inclusive = low_inclusive};
        }
        if (high.has_value()) {
            term.high = SearchBound{.value = std::move(*high), .inclusive = high_inclusive};
        }
        return add_term(begin, std::move(term));
    }

    Result<SearchNode> parse_regex() {
        const auto begin = at_++;
        SearchTerm term{.kind = SearchTerm::Kind::kRegex};
        for (; !at_end() && now() != '/'; ++at_) {
            if (now() == '\\' && following() != '\0') {
                if (following() != '/') {
                    term.value.push_back('\\');
                }
                ++at_;
            }
            term.value.push_back(now());
        }
        if (at_end()) {
            return problem_at(begin,
                              "this regular expression is not closed by '/'; put a text that "
                              "begins with '/' in quotes");
        }
        ++at_;
        if (term.value.empty()) {
            return problem_at(
                begin, "an empty regular expression; put a text that begins with '/' in quotes");
        }
        if (!at_end() && kWordEnds.find(now()) == std::string_view::npos) {
            return problem_at(at_,
                              "a regular expression ends at this '/'; write '\\/' inside it, and "
                              "put a text that begins with '/' in quotes");
        }
        return add_term(begin, std::move(term));
    }

    /// A bound of a range; nothing for '*'.
    Result<std::optional<std::string>> read_bound(std::string_view ends) {
        if (now() == '"') {
            MS_TRY(auto text, read_quoted());
            return std::optional(std::move(text));
        }
        const auto word = look_word(ends);
        if (word.empty()) {
            return problem_at(at_, "a value is missing here");
        }
        at_ += word.size();
        return word == "*" ? std::nullopt : std::optional(std::string(word));
    }

    Result<std::string> read_quoted() {
        const auto begin = at_++;
        std::string text;
        for (; !at_end() && now() != '"'; ++at_) {
            if (now() == '\\' && (following() == '"' || following() == '\\')) {
                ++at_;
            }
            text.push_back(now());
        }
        if (at_end()) {
            return problem_at(begin, "this quote is not closed");
        }
        ++at_;
        return text;
    }

    Result<SearchNode> add_word(std::size_t begin, std::string_view word) {
        const auto star = word.find('*');
        if (star != std::string_view::npos && (star == 0 || star + 1 != word.size())) {
            return problem_at(begin + star,
                              "'*' stands only at the end of a word; put the text in quotes if "
                              "you mean the character");
        }
        if (star == std::string_view::npos) {
            return add_term(begin, {.value = std::string(word)});
        }
        return add_term(begin,
                        {.kind = SearchTerm::Kind::kPrefix, .value = std::string(word, 0, star)});
    }

    Result<SearchNode> add_term(std::size_t begin, SearchTerm term) {
        MS_TRY_VOID(count_term(begin));
        term.field = field_;
        return SearchNode{
            .kind = SearchNode::Kind::kTerm, .at = begin, .term = std::move(term), .children = {}};
    }

    Result<> count_term(std::size_t begin) {
        if (++terms_ > kSearchTermsMax) {
            return beyond(begin, "terms", kSearchTermsMax);
        }
        return {};
    }

    Result<> go_down(std::size_t begin) {
        if (++depth_ > kSearchDepthMax) {
            return beyond(begin, "levels of parentheses and NOT", kSearchDepthMax);
        }
        return {};
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t depth_ = 0;
    std::size_t terms_ = 0;
    std::optional<std::string> field_;  ///< Inside `field:(…)` and at a field's value.
};

bool is_plain(std::string_view text) {
    const auto plain = [](char character) {
        const auto byte = static_cast<unsigned char>(character);
        return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
               (byte >= 'A' && byte <= 'Z') || byte == '_' || byte == '.';
    };
    return !text.empty() && std::ranges::all_of(text, plain) &&
           std::ranges::find(kKeywords, text) == std::end(kKeywords);
}

std::string quoted_if_needed(std::string_view text) {
    if (is_plain(text)) {
        return std::string(text);
    }
    std::string out = "\"";
    for (const char character : text) {
        if (character == '"' || character == '\\') {
            out.push_back('\\');
        }
        out.push_back(character);
    }
    return out + "\"";
}

std::string range_text(const SearchTerm& term) {
    const auto bound = [](const std::optional<SearchBound>& end) {
        return end.has_value() ? quoted_if_needed(end->value) : "*";
    };
    if (term.low.has_value() && !term.high.has_value()) {
        return (term.low->inclusive ? ">=" : ">") + bound(term.low);
    }
    if (term.high.has_value() && !term.low.has_value()) {
        return (term.high->inclusive ? "<=" : "<") + bound(term.high);
    }
    return fmt::format("{}{} TO {}{}",
                       term.low.has_value() && !term.low->inclusive ? '{' : '[',
                       bound(term.low),
                       bound(term.high),
                       term.high.has_value() && !term.high->inclusive ? '}' : ']');
}

std::string term_text(const SearchTerm& term) {
    std::string out = term.field.has_value() ? quoted_if_needed(*term.field) + ":" : "";
    switch (term.kind) {
        case SearchTerm::Kind::kText:
            return out + quoted_if_needed(term.value);
        case SearchTerm::Kind::kPrefix:
            return out + term.value + "*";
        case SearchTerm::Kind::kExists:
            return out + "*";
        case SearchTerm::Kind::kRange:
            return out + range_text(term);
        case SearchTerm::Kind::kRegex:
            break;
    }
    out.push_back('/');
    for (const char character : term.value) {
        if (character == '/') {
            out.push_back('\\');
        }
        out.push_back(character);
    }
    return out + "/";
}

void print(const SearchNode& node, std::string& out) {
    switch (node.kind) {
        case SearchNode::Kind::kAll:
            out += "*";
            return;
        case SearchNode::Kind::kTerm:
            out += term_text(node.term);
            return;
        case SearchNode::Kind::kNot:
            out += "NOT ";
            break;
        case SearchNode::Kind::kAnd:
        case SearchNode::Kind::kOr:
            break;
    }
    for (std::size_t i = 0; i < node.children.size(); ++i) {
        const auto& child = node.children[i];
        const bool needs_brackets =
            child.kind == SearchNode::Kind::kOr ||
            (child.kind == SearchNode::Kind::kAnd && node.kind != SearchNode::Kind::kOr);
        out += i == 0 ? "" : node.kind == SearchNode::Kind::kOr ? " OR " : " ";
        out += needs_brackets ? "(" : "";
        print(child, out);
        out += needs_brackets ? ")" : "";
    }
}

}  // namespace

bool operator==(const SearchNode& left, const SearchNode& right) {
    return left.kind == right.kind && left.term == right.term && left.children == right.children;
}

Result<SearchNode> parse_search(std::string_view text) {
    if (text.size() > kSearchBytesMax) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format(
                "search: the text has {} bytes, the most is {}", text.size(), kSearchBytesMax));
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte < 0x20 && !is_blank(text[i])) || byte == 0x7f) {
            return problem_at(i, fmt::format("a control character ({:#04x})", byte));
        }
    }
    if (repair_utf8(text) != text) {
        return Error(ErrorCode::kInvalidArgument, "search: the text is not UTF-8");
    }
    return Parser(text).run();
}

std::string search_text(const SearchNode& search) {
    std::string out;
    print(search, out);
    return out;
}

}  // namespace molesignal
