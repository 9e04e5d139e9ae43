#include "query/sql/guard/guard_text.h"

#include <vector>

#include <fmt/format.h>

#include "query/sql/guard/lower_name.h"

namespace molesignal {
namespace {

bool is_name_byte(char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte >= 0x80 || byte == '_' || (byte >= '0' && byte <= '9') ||
           (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/// Walks a statement's text outside quotes and comments.
class StatementScan {
public:
    StatementScan(std::string_view text, const GuardLimits& limits) : text_(text), limits_(limits) {
        withs_.emplace_back();
    }

    Result<> run() {
        while (at_ < text_.size()) {
            const char character = text_[at_];
            if (is_name_byte(character)) {
                take_word();
            } else if (character == '\'' || character == '"') {
                word_ = {};
                skip_past(std::string_view(&text_[at_], 1), at_ + 1);
            } else if (text_.substr(at_, 2) == "--") {
                skip_past("\n", at_ + 2);
            } else if (text_.substr(at_, 2) == "/*") {
                MS_TRY_VOID(skip_comment());
            } else if (character == '$') {
                word_ = {};
                skip_dollar_quote();
            } else {
                MS_TRY_VOID(count_bracket(character));
                if (character != ' ' && character != '\t' && character != '\n' &&
                    character != '\r') {
                    word_ = {};
                }
                ++at_;
            }
        }
        return check_withs();
    }

private:
    /// The body of a WITH query, or the statement itself.
    struct WithBody {
        std::size_t parent = 0;
        std::size_t bytes = 0;
        std::size_t children = 0;
    };

    void take_word() {
        const auto begin = at_;
        // A '$' inside a word begins no quote.
        while (at_ < text_.size() && (is_name_byte(text_[at_]) || text_[at_] == '$')) {
            ++at_;
        }
        word_ = text_.substr(begin, at_ - begin);
    }

    /// name AS (…), name AS [NOT] MATERIALIZED (…)
    bool begins_with_body() const {
        const auto word = lower_name(word_);
        return word == "as" || word == "materialized";
    }

    void skip_past(std::string_view end, std::size_t from) {
        const auto found = text_.find(end, from);
        at_ = found == std::string_view::npos ? text_.size() : found + end.size();
    }

    Result<> skip_comment() {
        const auto begin = at_;
        skip_past("*/", at_ + 2);
        if (text_.substr(begin + 2, at_ - begin - 2).find("/*") != std::string_view::npos) {
            return Error(ErrorCode::kInvalidArgument, "comments inside comments are not allowed");
        }
        return {};
    }

    /// $$text$$ or $tag$text$tag$; a parameter ($1) is no quote.
    void skip_dollar_quote() {
        auto end = at_ + 1;
        while (end < text_.size() && is_name_byte(text_[end])) {
            ++end;
        }
        const bool is_quote = end < text_.size() && text_[end] == '$' &&
                              (end == at_ + 1 || text_[at_ + 1] < '0' || text_[at_ + 1] > '9');
        if (is_quote) {
            skip_past(text_.substr(at_, end + 1 - at_), end + 1);
        } else {
            at_ = end;
        }
    }

    Result<> count_bracket(char character) {
        if (character == '(' || character == '[' || character == '{') {
            auto body = bodies_.empty() ? 0 : bodies_.back().body;
            if (character == '(' && begins_with_body()) {
                ++withs_[body].children;
                withs_.push_back({.parent = body});
                body = withs_.size() - 1;
            }
            bodies_.push_back({.begin = at_, .body = body});
            if (bodies_.size() > limits_.depth_max) {
                return Error(
                    ErrorCode::kInvalidArgument,
                    fmt::format("the statement nests deeper than {} levels", limits_.depth_max));
            }
        } else if ((character == ')' || character == ']' || character == '}') && !bodies_.empty()) {
            const auto closed = bodies_.back();
            bodies_.pop_back();
            if (closed.body != (bodies_.empty() ? 0 : bodies_.back().body)) {
                withs_[closed.body].bytes = at_ - closed.begin;
            }
        }
        return {};
    }

    /// The parser copies the body of a WITH query once for each of its siblings, and so the bodies
    /// in it: as often as all the lists around it multiply to.
    Result<> check_withs() const {
        std::vector<double> copies(withs_.size(), 1);
        double bytes = 0;
        for (std::size_t i = 1; i < withs_.size(); ++i) {
            const auto parent = withs_[i].parent;
            copies[i] = copies[parent] * static_cast<double>(withs_[parent].children + 2);
            bytes += copies[i] * static_cast<double>(withs_[i].bytes);
        }
        if (bytes > static_cast<double>(limits_.with_bytes_max)) {
            return Error(ErrorCode::kInvalidArgument,
                         "the statement has too many WITH queries, or too many inside each other");
        }
        return {};
    }

    struct Bracket {
        std::size_t begin = 0;
        std::size_t body = 0;  ///< The WITH query that it is part of.
    };

    std::string_view text_;
    const GuardLimits& limits_;
    std::size_t at_ = 0;
    std::string_view word_;  ///< Right before the place, but for blanks and comments.
    std::vector<Bracket> bodies_;
    std::vector<WithBody> withs_;
};

}  // namespace

Result<> check_statement_text(std::string_view text, const GuardLimits& limits) {
    if (text.size() > limits.statement_bytes_max) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the statement has {} bytes, the limit is {}",
                                 text.size(),
                                 limits.statement_bytes_max));
    }
    if (text.find('\0') != std::string_view::npos) {
        return Error(ErrorCode::kInvalidArgument, "the statement holds a NUL byte");
    }
    return StatementScan(text, limits).run();
}

}  // namespace molesignal
