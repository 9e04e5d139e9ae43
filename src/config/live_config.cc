#include "config/live_config.h"

#include <utility>
#include <variant>

#include <fmt/format.h>

#include "common/assert.h"
#include "config/setting.h"
#include "config/validate.h"

namespace molesignal {

LiveConfig::LiveConfig(Config config) : now_(nullptr) {
    replace(std::move(config));
}

void LiveConfig::replace(Config config) {
    auto version = std::make_unique<const Config>(std::move(config));
    const MutexLock lock(mutex_);
    now_.store(version.get(), std::memory_order_release);
    versions_.push_back(std::move(version));
}

Result<ConfigReload> plan_reload(const Config& now, const Config& wanted) {
    ConfigReload reload{.next = now, .changed = {}, .needs_restart = {}};
    auto from = wanted;
    for (const auto& setting : setting_table()) {
        if (print_setting(setting, now) == print_setting(setting, wanted)) {
            continue;
        }
        if (!setting.reloads) {
            reload.needs_restart.emplace_back(setting.key);
            continue;
        }
        reload.changed.emplace_back(setting.key);
        std::visit(
            [&](auto target) {
                const auto source = setting.ref(from);
                if constexpr (std::is_same_v<decltype(target), ChoiceRef>) {
                    *target.value = *std::get<ChoiceRef>(source).value;
                } else {
                    *target = *std::get<decltype(target)>(source);
                }
            },
            setting.ref(reload.next));
    }
    if (const auto conflicts = config_conflicts(reload.next); !conflicts.empty()) {
        return Error(ErrorCode::kInvalidArgument, fmt::format("{}", fmt::join(conflicts, "; ")));
    }
    return reload;
}

}  // namespace molesignal
