#include "common/failpoint.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mutex.h"

namespace molesignal {
namespace {

struct Armed {
    Failpoint::Action action = Failpoint::Action::kNone;
    ErrorCode code = ErrorCode::kUnavailable;
    std::chrono::milliseconds delay{0};
    std::uint64_t first_hit = 1;
    bool and_all_after = false;
    std::uint64_t passages = 0;
    bool fired = false;
};

using ArmedPoints = std::map<std::string, Armed, std::less<>>;

// Set during static initialisation, read-only afterwards.
Failpoint*& list_head() {
    static Failpoint* head = nullptr;
    return head;
}

std::atomic<bool>& any_armed() {
    static std::atomic<bool> armed{false};
    return armed;
}

struct ArmedMap {
    Mutex mutex;
    CondVar changed;
    ArmedPoints points MS_GUARDED_BY(mutex);
    std::uint64_t generation MS_GUARDED_BY(mutex) = 0;

    void replace(ArmedPoints wanted) MS_REQUIRES(mutex) {
        points = std::move(wanted);
        ++generation;
        any_armed().store(!points.empty(), std::memory_order_relaxed);
        changed.notify_all();
    }
    /// Waits until the points are armed anew, at most until `deadline`.
    void wait_for_change(SteadyNanos deadline) MS_REQUIRES(mutex) {
        SystemClock clock;
        const auto before = generation;
        while (generation == before && clock.steady_now() < deadline) {
            clock.wait_until(mutex, changed, deadline);
        }
    }
};
ArmedMap& armed_map() {
    static ArmedMap map;
    return map;
}

Error bad_spec(std::string_view item, std::string_view why) {
    return {ErrorCode::kInvalidArgument, fmt::format("failpoint '{}': {}", item, why)};
}

std::optional<ErrorCode> parse_code(std::string_view text) {
    // In the order of ErrorCode, which counts from 1.
    constexpr std::array<std::string_view, 11> kNames = {"invalid_argument",
                                                         "not_found",
                                                         "conflict",
                                                         "unauthenticated",
                                                         "forbidden",
                                                         "resource_exhausted",
                                                         "unavailable",
                                                         "timeout",
                                                         "cancelled",
                                                         "corruption",
                                                         "internal"};
    const auto found = std::ranges::find(kNames, text);
    if (found == kNames.end()) {
        return std::nullopt;
    }
    return static_cast<ErrorCode>(found - kNames.begin() + 1);
}

bool parse_number(std::string_view text, std::uint64_t& number) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    return parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
}

/// `@3`, `@3+`; takes it off the end of `text`.
bool take_hits(std::string_view& text, Armed& armed) {
    const auto at = text.find('@');
    if (at == std::string_view::npos) {
        return true;
    }
    auto hits = text.substr(at + 1);
    text = text.substr(0, at);
    armed.and_all_after = hits.ends_with('+');
    if (armed.and_all_after) {
        hits.remove_suffix(1);
    }
    return parse_number(hits, armed.first_hit) && armed.first_hit > 0;
}

/// The action and its argument in parentheses.
bool take_action(std::string_view text, Armed& armed) {
    std::string_view argument;
    if (const auto open = text.find('('); open != std::string_view::npos && text.ends_with(')')) {
        argument = text.substr(open + 1, text.size() - open - 2);
        text = text.substr(0, open);
    }
    if (text == "error") {
        armed.action = Failpoint::Action::kError;
        const auto code = argument.empty() ? ErrorCode::kUnavailable : parse_code(argument);
        armed.code = code.value_or(ErrorCode::kUnavailable);
        return code.has_value();
    }
    if (text == "delay") {
        std::uint64_t millis = 0;
        armed.action = Failpoint::Action::kDelay;
        const bool good = parse_number(argument, millis);
        armed.delay = std::chrono::milliseconds(millis);
        return good;
    }
    armed.action = text == "kill"    ? Failpoint::Action::kKill
                   : text == "pause" ? Failpoint::Action::kPause
                                     : Failpoint::Action::kNone;
    return armed.action != Failpoint::Action::kNone && argument.empty();
}

Result<ArmedPoints> parse_spec(std::string_view spec) {
    ArmedPoints points;
    const auto names = failpoint_names();
    while (!spec.empty()) {
        const auto comma = spec.find(',');
        const auto item = spec.substr(0, comma);
        spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
        const auto equals = item.find('=');
        if (equals == std::string_view::npos) {
            return bad_spec(item, "want name=action[@hits]");
        }
        const auto name = item.substr(0, equals);
        auto action = item.substr(equals + 1);
        Armed armed;
        if (!take_hits(action, armed)) {
            return bad_spec(item, "the hits are @N or @N+, N from 1");
        }
        if (!take_action(action, armed)) {
            return bad_spec(item, "unknown action or argument");
        }
        if (std::ranges::find(names, name) == names.end()) {
            return bad_spec(item, "there is no failpoint of this name");
        }
        points.insert_or_assign(std::string(name), armed);
    }
    return points;
}

}  // namespace

Failpoint::Failpoint(const char* name) : name_(name), next_(list_head()) {
    list_head() = this;
}

Result<> Failpoint::pass() {
    if (!any_armed().load(std::memory_order_relaxed)) [[likely]] {
        return {};
    }
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    const auto found = map.points.find(std::string_view(name_));
    if (found == map.points.end()) {
        return {};
    }
    auto& armed = found->second;
    ++armed.passages;
    if (armed.and_all_after ? armed.passages < armed.first_hit
                            : armed.passages != armed.first_hit) {
        return {};
    }
    armed.fired = true;
    map.changed.notify_all();
    const auto code = armed.code;
    switch (armed.action) {
        case Action::kNone:
            break;
        case Action::kKill:
            ::kill(::getpid(), SIGKILL);
            ::pause();
            break;
        case Action::kError:
            return Error(code, fmt::format("failpoint {}", name_));
        case Action::kDelay:
            map.wait_for_change(SystemClock().steady_now() + armed.delay);
            break;
        case Action::kPause:
            map.wait_for_change(SteadyNanos::never());
            break;
    }
    return {};
}

Result<> arm_failpoints(std::string_view spec) {
    MS_TRY(auto points, parse_spec(spec));
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    map.replace(std::move(points));
    return {};
}

void disarm_failpoints() {
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    map.replace({});
}

void await_failpoint(std::string_view name) {
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    const auto fired = [&]() MS_REQUIRES(map.mutex) {
        const auto found = map.points.find(name);
        return found == map.points.end() || found->second.fired;
    };
    while (!fired()) {
        map.changed.wait(map.mutex);
    }
}

std::vector<std::string_view> failpoint_names() {
    std::vector<std::string_view> names;
    for (auto* point = list_head(); point != nullptr; point = point->next_) {
        names.push_back(point->name_);
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace molesignal
