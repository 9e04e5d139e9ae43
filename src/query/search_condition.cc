#include "query/search_condition.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/time_argument.h"
#include "index/tokens.h"
#include "query/sql_text.h"
#include "query/text_match.h"

namespace molesignal {
namespace {

constexpr std::size_t kShownBytesMax = 128;

bool is_number_type(FieldType type) {
    return type == FieldType::kInt64 || type == FieldType::kUint64 || type == FieldType::kFloat64;
}

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

/// Whether SQL reads `text` as a finite number: -12, 1.5, 2e9.
bool is_number(std::string_view text) {
    constexpr std::size_t kDigitsMax = 40;
    const auto digits = text.substr(text.starts_with('-') ? 1 : 0);
    if (digits.empty() || text.size() > kDigitsMax || !is_digit(digits.front()) ||
        !is_digit(digits.back())) {
        return false;
    }
    double value = 0;
    const auto* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    return parsed.ec == std::errc{} && parsed.ptr == end && std::isfinite(value);
}

Error wrong_value(const SearchField& field, std::string_view value, std::string_view want) {
    return {ErrorCode::kInvalidArgument,
            fmt::format("search: the field '{}' is of the type {}; '{}' is not {}",
                        field.name,
                        field_type_name(field.type),
                        value.substr(0, kShownBytesMax),
                        want)};
}

/// A condition, or a piece of a `match` query that may join its neighbours.
class Printer {
public:
    Printer(const SearchSchema& schema, UnixNanos now) : schema_(schema), now_(now) {}

    Result<std::string> print(const SearchNode& node) const {
        switch (node.kind) {
            case SearchNode::Kind::kAll:
                return std::string("true");
            case SearchNode::Kind::kTerm:
                return print_term(node);
            case SearchNode::Kind::kNot:
                return print_not(node.children.front());
            case SearchNode::Kind::kAnd:
                return print_and(node);
            case SearchNode::Kind::kOr:
                break;
        }
        std::vector<std::string> conditions;
        for (const auto& child : node.children) {
            MS_TRY(auto condition, print(child));
            conditions.push_back(std::move(condition));
        }
        return fmt::format("({})", fmt::join(conditions, " OR "));
    }

private:
    static bool is_bare(const SearchNode& node) {
        return node.kind == SearchNode::Kind::kTerm && !node.term.field.has_value();
    }

    /// `match` is never NULL, and an index answers its negation; anything else may be NULL.
    Result<std::string> print_not(const SearchNode& child) const {
        MS_TRY(const auto condition, print(child));
        return condition.starts_with("match") ? "NOT " + condition
                                              : fmt::format("NOT coalesce({}, false)", condition);
    }

    /// Words of the full-text fields, negated ones too, are looked for together.
    Result<std::string> print_and(const SearchNode& node) const {
        std::vector<std::string> conditions;
        std::string words;
        std::size_t count = 0;
        const auto end_words = [&] {
            if (!words.empty()) {
                conditions.push_back(match_all(words));
                words.clear();
                count = 0;
            }
        };
        for (const auto& child : node.children) {
            const bool negated = child.kind == SearchNode::Kind::kNot;
            const auto& inner = negated ? child.children.front() : child;
            if (!is_bare(inner)) {
                MS_TRY(auto condition, print(child));
                conditions.push_back(std::move(condition));
                continue;
            }
            MS_TRY(const auto piece, match_piece(inner));
            if (count + piece.words > TextMatch::kWordsMax) {
                end_words();
            }
            words +=
                fmt::format("{}{}{}", words.empty() ? "" : " ", negated ? "-" : "", piece.text);
            count += piece.words;
        }
        end_words();
        return fmt::format("({})", fmt::join(conditions, " AND "));
    }

    struct MatchPiece {
        std::string text;
        std::size_t words = 0;
    };

    /// A word, phrase or prefix as `match` reads it.
    Result<MatchPiece> match_piece(const SearchNode& node) const {
        const auto& term = node.term;
        MatchPiece piece;
        if (term.kind == SearchTerm::Kind::kPrefix) {
            // Separators in front would be read as signs.
            const auto begin = std::ranges::find_if(term.value, is_token_byte);
            piece.text = std::string(begin, term.value.end()) + "*";
        } else {
            piece.text = '"' + term.value + '"';
            std::replace(piece.text.begin() + 1, piece.text.end() - 1, '"', ' ');
        }
        const auto parsed = TextMatch::parse(piece.text);
        if (!parsed) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("search, byte {}: '{}': {}",
                                     node.at,
                                     std::string_view(term.value).substr(0, kShownBytesMax),
                                     parsed.error().message()));
        }
        for (const auto& found : parsed->terms()) {
            piece.words += found.tokens.size();
        }
        if (!term.field.has_value() && !schema_.has_full_text()) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("search, byte {}: the stream has no full-text field (body, "
                                     "message, msg, log, text, _msg, or those of its settings); "
                                     "write field:value",
                                     node.at));
        }
        return piece;
    }

    static std::string match_all(std::string_view query) {
        return fmt::format("match_all({})", quote_sql_text(query));
    }

    Result<std::string> print_term(const SearchNode& node) const {
        const auto& term = node.term;
        if (!term.field.has_value()) {
            MS_TRY(const auto piece, match_piece(node));
            return match_all(piece.text);
        }
        auto found = schema_.find(*term.field);
        if (!found) {
            return std::move(found).error().wrap(fmt::format("search, byte {}", node.at));
        }
        const auto& field = *found;
        const auto column = quote_identifier(field.column);
        switch (term.kind) {
            case SearchTerm::Kind::kExists:
                return column + " IS NOT NULL";
            case SearchTerm::Kind::kRange:
                return print_range(field, term);
            case SearchTerm::Kind::kRegex:
                return fmt::format(
                    "regexp_matches({}, {})", field_as_text(field), quote_sql_text(term.value));
            case SearchTerm::Kind::kText:
            case SearchTerm::Kind::kPrefix:
                break;
        }
        if (field.full_text) {
            MS_TRY(const auto piece, match_piece(node));
            return fmt::format("match({}, {})", column, quote_sql_text(piece.text));
        }
        if (term.kind == SearchTerm::Kind::kPrefix) {
            return fmt::format(
                "starts_with({}, {})", field_as_text(field), quote_sql_text(term.value));
        }
        MS_TRY(const auto value, literal(field, term.value));
        return fmt::format("{} = {}", comparable(field), value);
    }

    Result<std::string> print_range(const SearchField& field, const SearchTerm& term) const {
        if (field.type == FieldType::kBool) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("search: the field '{}' is true or false and has no ranges",
                                     field.name));
        }
        std::vector<std::string> conditions;
        if (term.low.has_value()) {
            MS_TRY(const auto value, literal(field, term.low->value));
            conditions.push_back(fmt::format(
                "{} {} {}", comparable(field), term.low->inclusive ? ">=" : ">", value));
        }
        if (term.high.has_value()) {
            MS_TRY(const auto value, literal(field, term.high->value));
            conditions.push_back(fmt::format(
                "{} {} {}", comparable(field), term.high->inclusive ? "<=" : "<", value));
        }
        return fmt::format("({})", fmt::join(conditions, " AND "));
    }

    /// What is compared with a literal: bytes by the base64 that answers show.
    static std::string comparable(const SearchField& field) {
        return field.type == FieldType::kBytes ? field_as_text(field)
                                               : quote_identifier(field.column);
    }

    Result<std::string> literal(const SearchField& field, const std::string& value) const {
        if (is_number_type(field.type)) {
            if (!is_number(value)) {
                return wrong_value(field, value, "a number");
            }
            return value;
        }
        if (field.type == FieldType::kBool) {
            if (value != "true" && value != "false") {
                return wrong_value(field, value, "true or false");
            }
            return value;
        }
        if (field.type == FieldType::kTimestamp) {
            auto micros = parse_time_argument(value, now_);
            if (!micros) {
                return std::move(micros).error().wrap(fmt::format("search: '{}'", field.name));
            }
            return fmt::format("make_timestamptz({}::BIGINT)", *micros);
        }
        return quote_sql_text(value);
    }

    const SearchSchema& schema_;
    UnixNanos now_;
};

}  // namespace

std::string field_as_text(const SearchField& field) {
    auto column = quote_identifier(field.column);
    switch (field.type) {
        case FieldType::kString:
        case FieldType::kJson:
            return column;
        case FieldType::kBytes:
            return fmt::format("base64({})", column);
        default:
            return fmt::format("CAST({} AS VARCHAR)", column);
    }
}

Result<std::string> search_condition(const SearchNode& search,
                                     const SearchSchema& schema,
                                     UnixNanos now) {
    return Printer(schema, now).print(search);
}

}  // namespace molesignal
