#include "common/failpoint.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <map>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

#include "common/mutex.h"

namespace molesignal {
namespace {

struct Armed {
    Failpoint::Action action = Failpoint::Action::kNone;
    long hits_left = 0;
};

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
    std::map<std::string, Armed, std::less<>> points MS_GUARDED_BY(mutex);
};
ArmedMap& armed_map() {
    static ArmedMap map;
    return map;
}

}  // namespace

Failpoint::Failpoint(const char* name) : name_(name), next_(list_head()) {
    list_head() = this;
}

Result<> Failpoint::pass() {
    if (!any_armed().load(std::memory_order_relaxed)) [[likely]] {
        return {};
    }
    auto action = Action::kNone;
    {
        auto& map = armed_map();
        const MutexLock lock(map.mutex);
        const auto found = map.points.find(std::string_view(name_));
        if (found != map.points.end() && found->second.hits_left > 0 &&
            --found->second.hits_left == 0) {
            action = found->second.action;
        }
    }
    switch (action) {
        case Action::kNone:
            return {};
        case Action::kKill:
            ::kill(::getpid(), SIGKILL);
            ::pause();
            return {};
        case Action::kError:
            return Error(ErrorCode::kUnavailable, fmt::format("failpoint {}", name_));
    }
    return {};
}

Result<> arm_failpoints(std::string_view spec) {
    std::map<std::string, Armed, std::less<>> points;
    const auto names = failpoint_names();
    while (!spec.empty()) {
        const auto comma = spec.find(',');
        const auto item = spec.substr(0, comma);
        spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
        const auto equals = item.find('=');
        if (equals == std::string_view::npos) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("failpoint '{}': want name=action[@hit]", item));
        }
        const auto name = item.substr(0, equals);
        auto action_text = item.substr(equals + 1);
        Armed armed{.action = Failpoint::Action::kNone, .hits_left = 1};
        if (const auto at = action_text.find('@'); at != std::string_view::npos) {
            const auto hit = action_text.substr(at + 1);
            const auto parsed =
                std::from_chars(hit.data(), hit.data() + hit.size(), armed.hits_left);
            if (parsed.ec != std::errc{} || armed.hits_left < 1) {
                return Error(ErrorCode::kInvalidArgument,
                             fmt::format("failpoint {}: bad hit '{}'", name, hit));
            }
            action_text = action_text.substr(0, at);
        }
        if (action_text == "kill") {
            armed.action = Failpoint::Action::kKill;
        } else if (action_text == "error") {
            armed.action = Failpoint::Action::kError;
        } else {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("failpoint {}: unknown action '{}'", name, action_text));
        }
        if (std::ranges::find(names, name) == names.end()) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("no failpoint is named '{}'", name));
        }
        points.insert_or_assign(std::string(name), armed);
    }
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    map.points = std::move(points);
    any_armed().store(!map.points.empty(), std::memory_order_relaxed);
    return {};
}

void disarm_failpoints() {
    auto& map = armed_map();
    const MutexLock lock(map.mutex);
    map.points.clear();
    any_armed().store(false, std::memory_order_relaxed);
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
