#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "common/result.h"
#include "config/config.h"

namespace molesignal {

/// The configuration in force. Replaced as a whole while the server runs; what was read once stays
/// valid, so a request should read it once. Thread-safe.
class LiveConfig {
public:
    explicit LiveConfig(Config config);

    const Config& operator()() const { return *now_.load(std::memory_order_acquire); }
    void replace(Config config);

private:
    std::atomic<const Config*> now_;
    Mutex mutex_;
    /// All versions: some thread may still be reading an old one, and they are few and small.
    std::vector<std::unique_ptr<const Config>> versions_ MS_GUARDED_BY(mutex_);
};

/// What a reload changes.
struct ConfigReload {
    Config next;                             ///< `now` with what may change while running.
    std::vector<std::string> changed;        ///< Keys of the settings that `next` changes.
    std::vector<std::string> needs_restart;  ///< Keys that differ and stay as they were.
};

/// Takes over from `wanted` what may change while running (Setting::reloads). kInvalidArgument: the
/// result is a combination that is refused.
Result<ConfigReload> plan_reload(const Config& now, const Config& wanted);

}  // namespace molesignal
