#include "ingest/timestamp_parser.h"

#include <charconv>
#include <chrono>
#include <cmath>

namespace molesignal {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

/// The factor from the unit that a number of this magnitude is in.
std::int64_t unit_of(double magnitude) {
    if (magnitude < 1e11) {
        return kSecond;
    }
    if (magnitude < 1e14) {
        return 1'000'000;
    }
    return magnitude < 1e17 ? 1000 : 1;
}

/// Reads exactly `digits` digits.
bool read_digits(std::string_view& text, std::size_t digits, int& value) {
    if (text.size() < digits) {
        return false;
    }
    value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (text[i] - '0');
    }
    text.remove_prefix(digits);
    return true;
}

bool skip(std::string_view& text, char wanted) {
    if (text.empty() || text.front() != wanted) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

bool read_fraction(std::string_view& text, std::int64_t& nanos) {
    std::int64_t scale = kSecond / 10;
    std::size_t digits = 0;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
        nanos += (text.front() - '0') * scale;
        scale /= 10;
        ++digits;
        text.remove_prefix(1);
    }
    return digits > 0;
}

/// Seconds east of UTC.
bool read_offset(std::string_view text, int& seconds) {
    seconds = 0;
    if (text.empty() || text == "Z" || text == "z") {
        return true;
    }
    const int sign = text.front() == '-' ? -1 : 1;
    if (text.front() != '+' && text.front() != '-') {
        return false;
    }
    text.remove_prefix(1);
    int hours = 0;
    int minutes = 0;
    if (!read_digits(text, 2, hours)) {
        return false;
    }
    skip(text, ':');
    if (!text.empty() && !read_digits(text, 2, minutes)) {
        return false;
    }
    seconds = sign * (hours * 3600 + minutes * 60);
    return text.empty() && hours < 24 && minutes < 60;
}

std::optional<std::int64_t> time_from_rfc3339(std::string_view text) {
    int year = 0;
    int month = 0;
    int day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    std::int64_t nanos = 0;
    if (!read_digits(text, 4, year) || !skip(text, '-') || !read_digits(text, 2, month) ||
        !skip(text, '-') || !read_digits(text, 2, day)) {
        return std::nullopt;
    }
    if (!text.empty()) {
        if (!skip(text, 'T') && !skip(text, 't') && !skip(text, ' ')) {
            return std::nullopt;
        }
        if (!read_digits(text, 2, hour) || !skip(text, ':') || !read_digits(text, 2, minute)) {
            return std::nullopt;
        }
        if (skip(text, ':') && !read_digits(text, 2, second)) {
            return std::nullopt;
        }
        if ((skip(text, '.') || skip(text, ',')) && !read_fraction(text, nanos)) {
            return std::nullopt;
        }
    }
    int offset = 0;
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    // 60 is a leap second: the first moment of the next minute.
    if (!read_offset(text, offset) || !date.ok() || hour > 23 || minute > 59 || second > 60 ||
        year < 1678 || year > 2261) {
        return std::nullopt;
    }
    const auto days = std::chrono::sys_days(date).time_since_epoch().count();
    const auto seconds = std::int64_t{days} * 86'400 + hour * 3600 + minute * 60 + second - offset;
    return seconds * kSecond + nanos;
}

}  // namespace

std::optional<std::int64_t> time_from_integer(std::int64_t number) {
    const auto unit = unit_of(std::abs(static_cast<double>(number)));
    std::int64_t nanos = 0;
    if (__builtin_mul_overflow(number, unit, &nanos)) {
        return std::nullopt;
    }
    return nanos;
}

std::optional<std::int64_t> time_from_real(double number) {
    if (!std::isfinite(number)) {
        return std::nullopt;
    }
    // Long double has 64 bits of mantissa here: microseconds of today's seconds survive.
    const auto nanos = std::round(static_cast<long double>(number) * unit_of(std::abs(number)));
    if (std::abs(nanos) >= 9.2e18L) {
        return std::nullopt;
    }
    return static_cast<std::int64_t>(nanos);
}

std::optional<std::int64_t> time_from_text(std::string_view text) {
    if (text.size() >= 8 && text[4] == '-') {
        return time_from_rfc3339(text);
    }
    std::int64_t integer = 0;
    const auto* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, integer);
    if (parsed.ec == std::errc{} && parsed.ptr == end && !text.empty()) {
        return time_from_integer(integer);
    }
    double real = 0;
    const auto parsed_real = std::from_chars(text.data(), end, real);
    if (parsed_real.ec == std::errc{} && parsed_real.ptr == end && !text.empty()) {
        return time_from_real(real);
    }
    return std::nullopt;
}

}  // namespace molesignal
