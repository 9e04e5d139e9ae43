#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace molesignal {

/// A compiled LIKE pattern: '%' is any text, '_' one character of UTF-8. Immutable; thread-safe.
class LikePattern {
public:
    /// `escape` is empty or one byte. kInvalidArgument: it is longer, or ends the pattern.
    static Result<LikePattern> parse(std::string_view pattern, std::string_view escape);

    /// `count` is told of the work on the way, so that it can stop it by an exception.
    bool matches(std::string_view text, const std::function<void(std::uint64_t)>& count) const;
    /// What stands between the pattern's '%' and '_': a text that matches has each of them.
    std::vector<std::string> literals() const;

private:
    /// A run without '%'.
    struct Run {
        std::string bytes;       ///< Where a character may stand for any other: a zero.
        std::vector<bool> wild;  ///< By byte of `bytes`; empty: none is.
    };
    /// The end of the run's match that begins at `at`, or npos.
    static std::size_t match_at(const Run& run, std::string_view text, std::size_t at);
    static std::size_t find(const Run& run,
                            std::string_view text,
                            std::size_t from,
                            const std::function<void(std::uint64_t)>& count,
                            std::size_t& end);

    std::vector<Run> runs_;  ///< Between the '%'.
};

}  // namespace molesignal
