#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/result.h"

namespace molesignal {

enum class LogLevel : std::uint8_t { kDebug = 0, kInfo = 1, kWarn = 2, kError = 3 };
enum class LogFormat : std::uint8_t { kText = 0, kJson = 1 };

/// One `key=value` of a log line; values are kept as text, numbers marked so that JSON is exact.
struct LogField {
    LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
    LogField(std::string_view name, const char* text) : key(name), value(text) {}
    LogField(std::string_view name, const std::string& text) : key(name), value(text) {}
    template <std::integral Integer>
    LogField(std::string_view name, Integer number)
        : key(name), value(std::to_string(number)), is_number(true) {}
    LogField(std::string_view name, double number);

    std::string_view key;
    std::string value;
    bool is_number = false;
};

/// Sets level and form of the process's log (stderr). Before this call: info, text.
void configure_log(LogLevel level, LogFormat format, const Clock& clock);
/// Parses `debug|info|warn|error`; kInvalidArgument otherwise.
Result<LogLevel> parse_log_level(std::string_view text);

/// Whether `log` writes lines of this level: for callers whose fields cost something to make.
bool log_enabled(LogLevel level);

/// The line that `log` writes. Control characters in values are escaped and bytes that are not
/// UTF-8 replaced, so that outside text can neither forge lines nor break a reader of JSON.
std::string log_line(LogFormat format,
                     LogLevel level,
                     std::string_view message,
                     std::initializer_list<LogField> fields);

/// Writes one structured line to stderr. Thread-safe. Messages are constant text; what varies goes
/// into fields.
void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
inline void log_debug(std::string_view message, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::kDebug, message, fields);
}
inline void log_info(std::string_view message, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::kInfo, message, fields);
}
inline void log_warn(std::string_view message, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::kWarn, message, fields);
}
inline void log_error(std::string_view message, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::kError, message, fields);
}

}  // namespace molesignal
