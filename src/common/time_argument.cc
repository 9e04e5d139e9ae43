#include "common/time_argument.h"

#include <charconv>
#include <chrono>
#include <optional>

#include <fmt/format.h>

namespace molesignal {

namespace {

constexpr std::int64_t kMicros = 1'000'000;

/// Reads text from the left.
class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}
    /// Exactly `count` digits.
    std::optional<int> digits(std::size_t count) {
        if (text_.size() < count) {
            return std::nullopt;
        }
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (text_[i] < '0' || text_[i] > '9') {
                return std::nullopt;
            }
            value = value * 10 + (text_[i] - '0');
        }
        text_.remove_prefix(count);
        return value;
    }
    bool take(std::string_view any_of) {
        if (text_.empty() || any_of.find(text_.front()) == std::string_view::npos) {
            return false;
        }
        text_.remove_prefix(1);
        return true;
    }
    char next() const { return text_.empty() ? '\0' : text_.front(); }
    bool at_end() const { return text_.empty(); }

private:
    std::string_view text_;
};

/// ".5" as microseconds; further digits are dropped.
std::optional<std::int64_t> parse_fraction(Reader& reader) {
    if (!reader.take(".,")) {
        return 0;
    }
    std::int64_t micros = 0;
    std::int64_t scale = kMicros / 10;
    std::size_t count = 0;
    while (const auto digit = reader.digits(1)) {
        micros += *digit * scale;
        scale /= 10;
        ++count;
    }
    return count == 0 ? std::nullopt : std::optional(micros);
}

/// "Z", "+02:00", "-0230", nothing (UTC) as seconds east.
std::optional<std::int64_t> parse_offset(Reader& reader) {
    if (reader.at_end() || reader.take("Zz")) {
        return 0;
    }
    const int sign = reader.next() == '-' ? -1 : 1;
    if (!reader.take("+-")) {
        return std::nullopt;
    }
    const auto hours = reader.digits(2);
    reader.take(":");
    const auto minutes = reader.digits(2);
    if (!hours || !minutes || *hours > 23 || *minutes > 59) {
        return std::nullopt;
    }
    return sign * (*hours * 3600 + *minutes * 60);
}

std::optional<std::int64_t> parse_calendar(std::string_view text) {
    Reader reader(text);
    const auto year = reader.digits(4);
    const bool dash1 = reader.take("-");
    const auto month = reader.digits(2);
    const bool dash2 = reader.take("-");
    const auto day = reader.digits(2);
    if (!year || !dash1 || !month || !dash2 || !day) {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(*year),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day))};
    if (!date.ok()) {
        return std::nullopt;
    }
    std::int64_t seconds = std::chrono::sys_days(date).time_since_epoch().count() * 86'400;
    std::int64_t micros = 0;
    if (!reader.at_end()) {
        const bool separator = reader.take("Tt ");
        const auto hour = reader.digits(2);
        const bool colon1 = reader.take(":");
        const auto minute = reader.digits(2);
        const bool colon2 = reader.take(":");
        const auto second = colon2 ? reader.digits(2) : std::optional(0);
        if (!separator || !hour || !colon1 || !minute || !second || *hour > 23 || *minute > 59 ||
            *second > 60) {
            return std::nullopt;
        }
        const auto fraction = parse_fraction(reader);
        const auto offset = parse_offset(reader);
        if (!fraction || !offset || !reader.at_end()) {
            return std::nullopt;
        }
        seconds += *hour * 3600 + *minute * 60 + *second - *offset;
        micros = *fraction;
    }
    return seconds * kMicros + micros;
}

/// "-15m" and "+1h" against now.
std::optional<std::int64_t> parse_relative(std::string_view text, std::int64_t now_us) {
    if (text.size() < 3 || (text.front() != '-' && text.front() != '+')) {
        return std::nullopt;
    }
    std::int64_t count = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data() + 1, end, count);
    if (problem != std::errc{} || rest + 1 != end || count < 0 || count > 1'000'000'000) {
        return std::nullopt;
    }
    std::int64_t unit = 0;
    switch (*rest) {
        case 's':
            unit = 1;
            break;
        case 'm':
            unit = 60;
            break;
        case 'h':
            unit = 3600;
            break;
        case 'd':
            unit = 86'400;
            break;
        case 'w':
            unit = 7 * 86'400;
            break;
        default:
            return std::nullopt;
    }
    if (count > 10'000LL * 365 * 86'400 / unit) {
        return std::nullopt;
    }
    return now_us + (text.front() == '-' ? -1 : 1) * count * unit * kMicros;
}

std::optional<std::int64_t> parse_number(std::string_view text) {
    std::int64_t number = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data(), end, number);
    if (problem != std::errc{} || rest != end || number < 0) {
        return std::nullopt;
    }
    if (number < 100'000'000'000) {
        return number * kMicros;
    }
    if (number < 100'000'000'000'000) {
        return number * 1000;
    }
    return number < 100'000'000'000'000'000 ? number : number / 1000;
}

}  // namespace

Result<std::int64_t> parse_time_argument(std::string_view text, UnixNanos now) {
    const std::int64_t now_us = now.value / 1000;
    if (text == "now") {
        return now_us;
    }
    for (const auto& parsed :
         {parse_relative(text, now_us), parse_number(text), parse_calendar(text)}) {
        if (parsed) {
            return *parsed;
        }
    }
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not a time: write now, -15m, 2025-03-01T12:00:00Z or a number "
                    "of seconds, milli-, micro- or nanoseconds since 1970",
                    text));
}

}  // namespace molesignal
