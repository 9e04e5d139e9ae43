#include "query/sql/kernels/like_pattern.h"

#include <cstring>
#include <utility>

namespace molesignal {
namespace {

constexpr auto kNone = std::string_view::npos;

bool is_continuation(char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U;
}

/// The end of the character at `at`; bytes that are not UTF-8 are characters of their own.
std::size_t character_end(std::string_view text, std::size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t bytes = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    auto end = at + 1;
    while (end < text.size() && end < at + bytes && is_continuation(text[end])) {
        ++end;
    }
    return end;
}

}  // namespace

Result<LikePattern> LikePattern::parse(std::string_view pattern, std::string_view escape) {
    if (escape.size() > 1) {
        return Error(ErrorCode::kInvalidArgument,
                     "the escape of LIKE must be one character or none");
    }
    LikePattern parsed;
    parsed.runs_.emplace_back();
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        auto& run = parsed.runs_.back();
        if (!escape.empty() && pattern[i] == escape[0]) {
            if (++i == pattern.size()) {
                return Error(ErrorCode::kInvalidArgument,
                             "the pattern of LIKE must not end with its escape");
            }
        } else if (pattern[i] == '%') {
            parsed.runs_.emplace_back();
            continue;
        } else if (pattern[i] == '_') {
            run.wild.resize(run.bytes.size());
            run.wild.push_back(true);
            run.bytes.push_back('\0');
            continue;
        }
        run.bytes.push_back(pattern[i]);
        if (!run.wild.empty()) {
            run.wild.push_back(false);
        }
    }
    return parsed;
}

std::size_t LikePattern::match_at(const Run& run, std::string_view text, std::size_t at) {
    if (run.wild.empty()) {
        return text.compare(at, run.bytes.size(), run.bytes) == 0 ? at + run.bytes.size() : kNone;
    }
    for (std::size_t i = 0; i < run.bytes.size(); ++i) {
        if (at == text.size()) {
            return kNone;
        }
        if (run.wild[i]) {
            at = character_end(text, at);
        } else if (text[at++] != run.bytes[i]) {
            return kNone;
        }
    }
    return at;
}

std::size_t LikePattern::find(const Run& run,
                              std::string_view text,
                              std::size_t from,
                              const std::function<void(std::uint64_t)>& count,
                              std::size_t& end) {
    if (run.wild.empty()) {
        const auto* found = static_cast<const char*>(
            ::memmem(text.data() + from, text.size() - from, run.bytes.data(), run.bytes.size()));
        if (found == nullptr) {
            count(text.size() - from);
            return kNone;
        }
        const auto at = static_cast<std::size_t>(found - text.data());
        count(at - from);
        end = at + run.bytes.size();
        return at;
    }
    for (auto at = from; at <= text.size(); ++at) {
        // A character begins here: '_' is never half of one.
        if (at < text.size() && at > from && is_continuation(text[at])) {
            continue;
        }
        end = match_at(run, text, at);
        count(run.bytes.size());
        if (end != kNone) {
            return at;
        }
    }
    return kNone;
}

std::vector<std::string> LikePattern::literals() const {
    std::vector<std::string> literals;
    for (const auto& run : runs_) {
        std::string literal;
        for (std::size_t i = 0; i <= run.bytes.size(); ++i) {
            if (i < run.bytes.size() && (run.wild.empty() || !run.wild[i])) {
                literal.push_back(run.bytes[i]);
            } else if (!literal.empty()) {
                literals.push_back(std::exchange(literal, {}));
            }
        }
    }
    return literals;
}

bool LikePattern::matches(std::string_view text,
                          const std::function<void(std::uint64_t)>& count) const {
    const auto& first = runs_.front();
    auto at = match_at(first, text, 0);
    if (at == kNone) {
        return false;
    }
    if (runs_.size() == 1) {
        return at == text.size();
    }
    // The earliest match of each run leaves the most for the next: no way back is needed.
    for (std::size_t i = 1; i + 1 < runs_.size(); ++i) {
        std::size_t end = 0;
        if (find(runs_[i], text, at, count, end) == kNone) {
            return false;
        }
        at = end;
    }
    const auto& last = runs_.back();
    if (last.wild.empty()) {
        return text.size() - at >= last.bytes.size() && text.ends_with(last.bytes);
    }
    // Its characters, counted from the end of the text.
    auto begin = text.size();
    for (auto i = last.bytes.size(); i > 0; --i) {
        if (begin == at) {
            return false;
        }
        --begin;
        while (last.wild[i - 1] && begin > at && is_continuation(text[begin])) {
            --begin;
        }
    }
    return match_at(last, text, begin) == text.size();
}

}  // namespace molesignal
