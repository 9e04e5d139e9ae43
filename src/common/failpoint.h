#pragma once

#include <string_view>
#include <vector>

#include "common/result.h"

namespace molesignal {

/// Named places where a test can make the process die or an operation fail.
///
/// Compiled in always; armed only by `--failpoints` (a test option) or by arm_failpoint. A spec is
/// `name=action[@hit]`, joined by commas: action `kill` (SIGKILL to itself) or `error` (the verb
/// returns kUnavailable), hit = which passage fires, 1 by default. An unarmed failpoint costs one
/// relaxed load. Thread-safe.
class Failpoint {
public:
    /// `name` must be a literal; it is listed by `molesignal --list-failpoints` once passed or not,
    /// because instances are static.
    explicit Failpoint(const char* name);
    /// Passes the place: returns an error or does not return if armed for this hit.
    Result<> pass();
    std::string_view name() const { return name_; }

    enum class Action { kNone, kKill, kError };

private:
    friend Result<> arm_failpoints(std::string_view spec);
    friend void disarm_failpoints();
    friend std::vector<std::string_view> failpoint_names();
    const char* name_;
    Failpoint* next_ = nullptr;
};

/// Arms what `spec` lists. kInvalidArgument for a name or action that does not exist.
Result<> arm_failpoints(std::string_view spec);
void disarm_failpoints();
/// All failpoints of the program, sorted.
std::vector<std::string_view> failpoint_names();

}  // namespace molesignal

/// Defines a failpoint at namespace scope of a source file: MS_DEFINE_FAILPOINT(wal_after_write);
#define MS_DEFINE_FAILPOINT(identifier) static ::molesignal::Failpoint identifier(#identifier)
/// Passes it inside a function that returns a Result.
#define MS_PASS_FAILPOINT(identifier) MS_TRY_VOID((identifier).pass())
