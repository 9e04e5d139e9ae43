#include "common/log.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <ctime>

#include <fmt/format.h>

#include "common/utf8.h"

namespace molesignal {
namespace {

std::atomic<LogLevel> minimum_level{LogLevel::kInfo};
std::atomic<LogFormat> line_format{LogFormat::kText};
std::atomic<const Clock*> log_clock{nullptr};

std::string_view level_name(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return "debug";
        case LogLevel::kInfo:
            return "info";
        case LogLevel::kWarn:
            return "warn";
        case LogLevel::kError:
            return "error";
    }
    return "unknown";
}

void append_quoted(std::string& out, std::string_view text) {
    out.push_back('"');
    for (const char character : repair_utf8(text)) {
        const auto byte = static_cast<unsigned char>(character);
        if (character == '"' || character == '\\') {
            out.push_back('\\');
            out.push_back(character);
        } else if (byte < 0x20 || byte == 0x7f) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        } else if (byte < 0xa0 && out.back() == '\xc2') {
            // C1 controls: terminals obey them.
            out.pop_back();
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        } else {
            out.push_back(character);
        }
    }
    out.push_back('"');
}

bool is_plain(std::string_view text) {
    if (text.empty()) {
        return false;
    }
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte <= 0x20 || byte >= 0x7f || character == '"' || character == '\\' ||
            character == '=') {
            return false;
        }
    }
    return true;
}

std::string timestamp() {
    SystemClock system;
    const auto* clock = log_clock.load();
    const auto now = clock != nullptr ? clock->now() : system.now();
    const std::time_t seconds = now.value / 1'000'000'000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                       parts.tm_year + 1900,
                       parts.tm_mon + 1,
                       parts.tm_mday,
                       parts.tm_hour,
                       parts.tm_min,
                       parts.tm_sec,
                       now.value % 1'000'000'000 / 1000);
}

}  // namespace

LogField::LogField(std::string_view name, double number)
    : key(name), value(fmt::format("{}", number)), is_number(std::isfinite(number)) {}

void configure_log(LogLevel level, LogFormat format, const Clock& clock) {
    minimum_level = level;
    line_format = format;
    log_clock = &clock;
}

Result<LogLevel> parse_log_level(std::string_view text) {
    for (const auto level :
         {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
        if (text == level_name(level)) {
            return level;
        }
    }
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("log level '{}': want debug, info, warn or error", text));
}

std::string log_line(LogFormat format,
                     LogLevel level,
                     std::string_view message,
                     std::initializer_list<LogField> fields) {
    std::string line;
    if (format == LogFormat::kJson) {
        line =
            fmt::format(R"({{"time":"{}","level":"{}","message":)", timestamp(), level_name(level));
        append_quoted(line, message);
        for (const auto& field : fields) {
            line.push_back(',');
            append_quoted(line, field.key);
            line.push_back(':');
            if (field.is_number) {
                line += field.value;
            } else {
                append_quoted(line, field.value);
            }
        }
        line += "}\n";
    } else {
        line = fmt::format("{} {:<5} {}", timestamp(), level_name(level), message);
        for (const auto& field : fields) {
            line.push_back(' ');
            line += field.key;
            line.push_back('=');
            if (is_plain(field.value)) {
                line += field.value;
            } else {
                append_quoted(line, field.value);
            }
        }
        line.push_back('\n');
    }
    return line;
}

bool log_enabled(LogLevel level) {
    return level >= minimum_level.load(std::memory_order_relaxed);
}

void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
    if (!log_enabled(level)) {
        return;
    }
    const auto line = log_line(line_format.load(std::memory_order_relaxed), level, message, fields);
    // One write per line, so that lines of several threads do not mix.
    std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace molesignal
