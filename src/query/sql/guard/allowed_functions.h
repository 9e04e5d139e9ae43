#pragma once

#include <cstdint>
#include <string_view>

namespace molesignal {

/// What a function may be used as.
enum class FunctionUse : std::uint8_t {
    kScalar = 1,
    kAggregate = 2,      ///< Also over a window.
    kAggregateOnly = 3,  ///< Not over a window: its time grows with the square of the rows there.
    kWindow = 4,         ///< Only over a window.
};

/// What is looked at, or done, before a call may pass (docs/decisions/0011-sql-functions.md).
enum class FunctionRule : std::uint8_t {
    kNone = 1,
    kShortSecond,  ///< The second argument is a short text in quotes: DuckDB's search is quadratic.
    kShortOthers,  ///< All but the first argument are.
    kShortIfText,  ///< The format, first or second, is a short text in quotes.
    kOffset,       ///< The second argument is a small number: DuckDB crashes at its limits.
    kContains,     ///< Ours, unless what is looked for is a short text in quotes.
    kPosition,     ///< The same.
    kLike,         ///< Ours, unless the pattern is short and plain.
    kRegex,        ///< Ours.
    kOwn,          ///< Ours, under a name that DuckDB does not know or understands otherwise.
};

struct AllowedFunction {
    std::string_view name;
    FunctionUse use = FunctionUse::kScalar;
    FunctionRule rule = FunctionRule::kNone;
};

/// A function that users may call, by its name in lower case; null: refused.
const AllowedFunction* find_allowed_function(std::string_view name);

}  // namespace molesignal
