#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace molesignal {

/// Named places where a test can make the process die, an operation fail, or a thread wait.
///
/// Compiled in always; armed only by a test option (`--failpoints`, `--failpoints-file`) or by
/// arm_failpoints. A spec is `name=action[@hits]`, joined by commas.
///
///     kill          SIGKILL to itself
///     error         the verb fails with kUnavailable
///     error(CODE)   … with that code, as ErrorCode spells it: error(resource_exhausted)
///     delay(MS)     the thread waits, then goes on
///     pause         the thread waits until the failpoints are disarmed or armed anew
///
/// Hits are the passages that fire, counted from the arming: `@3` the third (1 by default), `@3+`
/// the third and all behind it, `@1+` every one. An unarmed failpoint costs one relaxed load.
/// Thread-safe.
class Failpoint {
public:
    /// `name` must be a literal; it is listed by `molesignal --list-failpoints` once passed or not,
    /// because instances are static.
    explicit Failpoint(const char* name);
    /// Passes the place: returns an error, waits, or does not return if armed for this hit.
    Result<> pass();
    std::string_view name() const { return name_; }

    enum class Action : std::uint8_t { kNone, kKill, kError, kDelay, kPause };

private:
    friend std::vector<std::string_view> failpoint_names();
    const char* name_;
    Failpoint* next_ = nullptr;
};

/// Arms what `spec` lists, and nothing else. kInvalidArgument for a name or action that does not
/// exist: then everything stays as it was.
Result<> arm_failpoints(std::string_view spec);
/// Nothing fires from here on, and threads that wait at a failpoint go on.
void disarm_failpoints();
/// Returns once the armed failpoint `name` has fired, at once if it did already. For tests: a
/// thread that was told to pause is there.
void await_failpoint(std::string_view name);
/// All failpoints of the program, sorted.
std::vector<std::string_view> failpoint_names();

}  // namespace molesignal

/// Defines a failpoint at namespace scope of a source file: MS_DEFINE_FAILPOINT(wal_after_write);
#define MS_DEFINE_FAILPOINT(identifier) static ::molesignal::Failpoint identifier(#identifier)
/// Passes it inside a function that returns a Result.
#define MS_PASS_FAILPOINT(identifier) MS_TRY_VOID((identifier).pass())
