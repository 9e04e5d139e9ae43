#include "query/regex_literals.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace molesignal {
namespace {

constexpr std::size_t kChoicesMax = 16;       ///< Texts that a piece is kept as.
constexpr std::size_t kChoiceBytesMax = 200;  ///< Of each.
constexpr std::size_t kLiteralBytesMin = 2;   ///< Shorter ones are nearly everywhere.
constexpr std::size_t kLiteralsMax = 64;      ///< Each is looked for in the whole dictionary.
constexpr int kDepthMax = 50;
constexpr int kAnyCount = -1;

/// What a piece of an expression stands for: one of `texts`, of which it may refuse some; or, if
/// they are too many, something that has what `needed` asks for.
struct Piece {
    std::optional<std::vector<std::string>> texts;
    bool ignores_case = false;
    std::optional<IndexQuery> needed;

    static Piece anything() { return {}; }
    static Piece text(std::string text, bool ignores_case) {
        return {.texts = std::vector{std::move(text)}, .ignores_case = ignores_case, .needed = {}};
    }
    static Piece nothing() { return text("", false); }
};

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

bool is_letter(char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z');
}

/// What `\` and a letter are, if that is one character below 0x80.
std::optional<char> control_character(char letter) {
    constexpr std::array<std::pair<char, char>, 6> kControls = {
        {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'f', '\f'}, {'v', '\v'}, {'a', '\a'}}};
    const auto* const found = std::ranges::find(kControls, letter, &std::pair<char, char>::first);
    return found == kControls.end() ? std::nullopt : std::optional(found->second);
}

std::size_t character_bytes(char lead) {
    const auto byte = static_cast<unsigned char>(lead);
    return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

class LiteralParser {
public:
    LiteralParser(std::string_view pattern, RegexMode mode, FieldId field)
        : pattern_(pattern), field_(field), ignores_case_(mode.ignores_case) {}

    /// Nothing: something that is not known here.
    std::optional<Piece> run() {
        auto piece = alternation();
        return is_bad_ || at_ != pattern_.size() ? std::nullopt : std::optional(std::move(piece));
    }

    std::optional<IndexQuery> needed_of(const Piece& piece) const {
        if (!piece.texts.has_value()) {
            return piece.needed;
        }
        std::vector<IndexQuery> literals;
        for (const auto& text : *piece.texts) {
            if (text.size() < kLiteralBytesMin) {
                return std::nullopt;
            }
            literals.push_back(IndexQuery::contains(field_, text, piece.ignores_case));
        }
        return literals.size() == 1 ? std::move(literals.front())
                                    : IndexQuery::any(std::move(literals));
    }

private:
    bool is_at_end() const { return is_bad_ || at_ >= pattern_.size(); }
    char peek() const { return pattern_[at_]; }
    bool take(std::string_view text) {
        const bool is_next = !is_bad_ && pattern_.substr(at_).starts_with(text);
        at_ += is_next ? text.size() : 0;
        return is_next;
    }
    /// Everything that follows is not understood.
    Piece give_up() {
        is_bad_ = true;
        return Piece::anything();
    }

    /// Flags that are set in it end with it.
    Piece alternation() {
        if (++depth_ > kDepthMax) {
            return give_up();
        }
        const bool ignored_case = ignores_case_;
        auto all = concatenation();
        while (take("|")) {
            all = either(std::move(all), concatenation());
        }
        ignores_case_ = ignored_case;
        --depth_;
        return all;
    }

    Piece concatenation() {
        auto run = Piece::nothing();
        std::vector<IndexQuery> needed;
        bool is_cut = false;
        const auto end_run = [&] {
            is_cut = true;
            if (auto query = needed_of(run)) {
                needed.push_back(std::move(*query));
            }
            run = Piece::nothing();
        };
        while (!is_at_end() && peek() != '|' && peek() != ')') {
            auto next = repetition(atom());
            if (next.texts.has_value()) {
                if (!append(run, next)) {
                    end_run();
                    run = std::move(next);
                }
            } else {
                end_run();
                if (next.needed.has_value()) {
                    needed.push_back(std::move(*next.needed));
                }
            }
        }
        if (!is_cut) {
            return run;
        }
        end_run();
        if (needed.empty()) {
            return Piece::anything();
        }
        return {.texts = {},
                .needed = needed.size() == 1 ? std::move(needed.front())
                                             : IndexQuery::all(std::move(needed))};
    }

    /// Makes `run` the texts of `run` with those of `next` behind them; false: they are too many.
    static bool append(Piece& run, const Piece& next) {
        if (run.texts->size() * next.texts->size() > kChoicesMax) {
            return false;
        }
        std::vector<std::string> joined;
        for (const auto& begin : *run.texts) {
            for (const auto& end : *next.texts) {
                if (begin.size() + end.size() > kChoiceBytesMax) {
                    return false;
                }
                joined.push_back(begin + end);
            }
        }
        run.texts = std::move(joined);
        run.ignores_case = run.ignores_case || next.ignores_case;
        return true;
    }

    Piece either(Piece left, Piece right) const {
        if (left.texts.has_value() && right.texts.has_value() &&
            left.texts->size() + right.texts->size() <= kChoicesMax) {
            for (auto& text : *right.texts) {
                left.texts->push_back(std::move(text));
            }
            left.ignores_case = left.ignores_case || right.ignores_case;
            return left;
        }
        auto of_left = needed_of(left);
        auto of_right = needed_of(right);
        if (!of_left.has_value() || !of_right.has_value()) {
            return Piece::anything();
        }
        std::vector<IndexQuery> both;
        for (auto* side : {&*of_left, &*of_right}) {
            if (side->kind == IndexQuery::Kind::kAny) {
                std::ranges::move(side->children, std::back_inserter(both));
            } else {
                both.push_back(std::move(*side));
            }
        }
        return {.texts = {}, .needed = IndexQuery::any(std::move(both))};
    }

    /// A piece and the signs behind it that repeat it.
    Piece repetition(Piece piece) {
        int least = 1;
        int most = 1;
        if (!take_count(least, most)) {
            return piece;
        }
        (void)take("?");  // As few as possible: the texts are the same.
        int unused = 0;
        if (take_count(unused, unused)) {
            return give_up();
        }
        if (least == 0) {
            if (most == 1 && piece.texts.has_value() && piece.texts->size() < kChoicesMax) {
                piece.texts->emplace_back();
                return piece;
            }
            return Piece::anything();
        }
        if (piece.texts.has_value() && least == most) {
            auto repeated = Piece::nothing();
            int times = 0;
            while (times < least && append(repeated, piece)) {
                ++times;
            }
            if (times == least) {
                return repeated;
            }
        }
        return {.texts = {}, .needed = needed_of(piece)};
    }

    bool take_count(int& least, int& most) {
        if (take("*")) {
            least = 0;
            most = kAnyCount;
        } else if (take("+")) {
            least = 1;
            most = kAnyCount;
        } else if (take("?")) {
            least = 0;
            most = 1;
        } else {
            return !is_at_end() && peek() == '{' && take_bounds(least, most);
        }
        return true;
    }

    /// {2}, {2,} or {2,5}; anything else is text.
    bool take_bounds(int& least, int& most) {
        const auto begin = at_;
        ++at_;
        if (take_number(least)) {
            most = least;
            if (take(",") && !take_number(most)) {
                most = kAnyCount;
            }
            if (take("}")) {
                return true;
            }
        }
        at_ = begin;
        return false;
    }

    bool take_number(int& number) {
        const auto digits = pattern_.substr(at_);
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (digits.empty() || !is_digit(digits.front()) || parsed.ec != std::errc()) {
            return false;
        }
        const auto count = static_cast<std::size_t>(parsed.ptr - digits.data());
        is_bad_ = is_bad_ || (count > 1 && digits.front() == '0');  // RE2 takes it for text.
        at_ += count;
        return true;
    }

    Piece atom() {
        switch (peek()) {
            case '(':
                return group();
            case '[':
                return character_class();
            case '\\':
                return escape();
            case '.':
                ++at_;
                return Piece::anything();
            case '^':
            case '$':
                ++at_;
                return Piece::nothing();
            case '*':
            case '+':
            case '?':
                return give_up();
            default: {
                const auto character = pattern_.substr(at_, character_bytes(peek()));
                at_ += character.size();
                return Piece::text(std::string(character), ignores_case_);
            }
        }
    }

    Piece group() {
        ++at_;
        const bool ignored_case = ignores_case_;
        if (take("?P<") || take("?<")) {
            const auto end = pattern_.find('>', at_);
            if (end == std::string_view::npos) {
                return give_up();
            }
            at_ = end + 1;
        } else if (take("?")) {
            if (!take_flags()) {
                return give_up();
            }
            if (take(")")) {
                // They hold until the group around it ends. A sign behind them repeats what was
                // before them.
                const bool is_repeated =
                    !is_at_end() && std::string_view("*+?{").find(peek()) != std::string_view::npos;
                return is_repeated ? give_up() : Piece::nothing();
            }
            ++at_;
        }
        auto piece = alternation();
        ignores_case_ = ignored_case;
        return take(")") ? std::move(piece) : give_up();
    }

    /// Up to the ':' or ')' behind them.
    bool take_flags() {
        bool is_set = true;
        for (; !is_at_end() && peek() != ':' && peek() != ')'; ++at_) {
            switch (peek()) {
                case 'i':
                    ignores_case_ = is_set;
                    break;
                case '-':
                    is_set = false;
                    break;
                case 'm':
                case 's':
                case 'U':
                    break;
                default:
                    return false;
            }
        }
        return !is_at_end();
    }

    Piece escape() {
        ++at_;
        if (is_at_end()) {
            return give_up();
        }
        const char letter = peek();
        ++at_;
        if (const auto control = control_character(letter)) {
            return Piece::text(std::string(1, *control), ignores_case_);
        }
        switch (letter) {
            case 'd':
            case 'D':
            case 'w':
            case 'W':
            case 's':
            case 'S':
                return Piece::anything();
            case 'b':
            case 'B':
            case 'A':
            case 'z':
                return Piece::nothing();
            case 'p':
            case 'P':
                return unicode_class();
            default:
                break;
        }
        // A sign stands for itself; of other letters, numbers and \x nothing is said.
        const bool is_sign = character_bytes(letter) == 1 &&
                             static_cast<unsigned char>(letter) < 0x80 && !is_letter(letter) &&
                             !is_digit(letter) && letter != '_';
        return is_sign ? Piece::text(std::string(1, letter), ignores_case_) : give_up();
    }

    /// \pN or \p{Greek}.
    Piece unicode_class() {
        if (take("{")) {
            const auto end = pattern_.find('}', at_);
            if (end == std::string_view::npos) {
                return give_up();
            }
            at_ = end + 1;
        } else if (!is_at_end() && is_letter(peek())) {
            ++at_;
        } else {
            return give_up();
        }
        return Piece::anything();
    }

    /// The characters of a class without ranges, if they are few; else anything.
    Piece character_class() {
        ++at_;
        bool is_listed = !take("^");
        std::vector<std::string> characters;
        for (bool is_first = true; is_first || is_at_end() || peek() != ']'; is_first = false) {
            if (is_at_end()) {
                return give_up();
            }
            if (take("[:")) {
                const auto end = pattern_.find(":]", at_);
                is_listed = false;
                // Without an end it is two characters of the class.
                at_ = end == std::string_view::npos ? at_ : end + 2;
            } else if (peek() == '\\' || peek() == '-') {
                is_listed = false;
                at_ += peek() == '\\' ? 2 : 1;
            } else {
                const auto character = pattern_.substr(at_, character_bytes(peek()));
                characters.emplace_back(character);
                at_ += character.size();
            }
        }
        ++at_;
        constexpr std::size_t kCharactersMax = 4;
        if (!is_listed || characters.size() > kCharactersMax) {
            return Piece::anything();
        }
        return {.texts = std::move(characters), .ignores_case = ignores_case_, .needed = {}};
    }

    std::string_view pattern_;
    FieldId field_;
    bool ignores_case_;
    std::size_t at_ = 0;
    int depth_ = 0;
    bool is_bad_ = false;
};

std::size_t count_literals(const IndexQuery& query) {
    std::size_t count = query.kind == IndexQuery::Kind::kContains ? 1 : 0;
    for (const auto& child : query.children) {
        count += count_literals(child);
    }
    return count;
}

}  // namespace

RegexLiterals regex_literals(std::string_view pattern, RegexMode mode, FieldId field) {
    LiteralParser parser(pattern, mode, field);
    const auto piece = mode.is_literal
                           ? std::optional(Piece::text(std::string(pattern), mode.ignores_case))
                           : parser.run();
    RegexLiterals literals;
    if (!piece.has_value()) {
        return literals;
    }
    literals.needed = parser.needed_of(*piece);
    if (literals.needed.has_value() && count_literals(*literals.needed) > kLiteralsMax) {
        literals.needed.reset();
    }
    if (piece->texts.has_value() && !piece->ignores_case) {
        literals.whole = *piece->texts;
    }
    return literals;
}

}  // namespace molesignal
