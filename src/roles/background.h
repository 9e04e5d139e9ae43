#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"

namespace molesignal {

/// Repeats tasks on threads of their own until stopped: probes, gauges, retention. Thread-safe.
class Background {
public:
    explicit Background(Clock& clock) : clock_(clock) {}
    ~Background() { stop(); }
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;

    /// Runs `task` now and then every `interval`, counted from its end.
    void repeat(std::chrono::nanoseconds interval, std::function<void()> task);
    /// Ends the waits, lets running tasks finish, joins.
    void stop();

private:
    void run(std::chrono::nanoseconds interval, const std::function<void()>& task);

    Clock& clock_;
    Mutex mutex_;
    CondVar wake_;
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    std::vector<std::thread> threads_;
};

}  // namespace molesignal
