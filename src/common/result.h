#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace molesignal {

enum class ErrorCode : std::uint8_t {
    kInvalidArgument = 1,  // The caller can fix it: HTTP 400.
    kNotFound = 2,
    kConflict = 3,
    kUnauthenticated = 4,
    kForbidden = 5,
    kResourceExhausted = 6,  // A limit was hit that frees itself: HTTP 429, retry later.
    kUnavailable = 7,        // A dependency is down: retry with backoff.
    kTimeout = 8,
    kCancelled = 9,
    kCorruption = 10,  // A checksum or format check failed. Never retried.
    kInternal = 11,
    kTooLarge = 12,      // The request is larger than a limit: send a smaller one. HTTP 413.
    kLimitReached = 13,  // A limit that waiting does not free: ask for less, or raise it. HTTP 422.
};

/// Why an operation failed. The code is for programs, the message for people.
class [[nodiscard]] Error {
public:
    Error(ErrorCode code,
          std::string message,
          std::source_location where = std::source_location::current())
        : code_(code), message_(std::move(message)), where_(where) {}

    ErrorCode code() const { return code_; }
    const std::string& message() const { return message_; }
    const std::source_location& where() const { return where_; }

    /// Adds what the caller was doing: "open segment 7: read footer: short file".
    Error wrap(std::string_view doing) && {
        message_.insert(0, ": ").insert(0, doing);
        return std::move(*this);
    }

private:
    ErrorCode code_;
    std::string message_;
    std::source_location where_;
};

/// A value or an Error. Ignoring one is a compile error (-Werror=unused-result).
template <class T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
    using Base = tl::expected<T, Error>;

public:
    using Base::Base;
    Result(Base base) : Base(std::move(base)) {}  // NOLINT(google-explicit-constructor)
    Result(Error error)
        : Base(tl::unexpected<Error>(std::move(error))) {}  // NOLINT(google-explicit-constructor)
};

}  // namespace molesignal

#define MS_CONCAT_INNER(a, b) a##b
#define MS_CONCAT(a, b) MS_CONCAT_INNER(a, b)
#define MS_TRY_IMPL(temporary, return_keyword, target, expression) \
    auto temporary = (expression);                                 \
    if (!temporary.has_value()) [[unlikely]] {                     \
        return_keyword std::move(temporary).error();               \
    }                                                              \
    target = *std::move(temporary)
/// MS_TRY(auto file, fs.open(path));  -- returns the error, or goes on.
#define MS_TRY(target, expression) \
    MS_TRY_IMPL(MS_CONCAT(ms_try_, __COUNTER__), return, target, expression)
#define MS_CO_TRY(target, expression) \
    MS_TRY_IMPL(MS_CONCAT(ms_try_, __COUNTER__), co_return, target, expression)
#define MS_CHECK_OK_IMPL(return_keyword, expression)                              \
    do {                                                                          \
        if (auto ms_result = (expression); !ms_result.has_value()) [[unlikely]] { \
            return_keyword std::move(ms_result).error();                          \
        }                                                                         \
    } while (false)
#define MS_TRY_VOID(expression) MS_CHECK_OK_IMPL(return, expression)
#define MS_CO_TRY_VOID(expression) MS_CHECK_OK_IMPL(co_return, expression)
