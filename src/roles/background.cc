#include "roles/background.h"

namespace molesignal {

void Background::repeat(std::chrono::nanoseconds interval, std::function<void()> task) {
    threads_.emplace_back([this, interval, task = std::move(task)] { run(interval, task); });
}

void Background::run(std::chrono::nanoseconds interval, const std::function<void()>& task) {
    while (true) {
        task();
        const auto wake_at = clock_.steady_now() + interval;
        const MutexLock lock(mutex_);
        while (!stopping_ && clock_.steady_now() < wake_at) {
            clock_.wait_until(mutex_, wake_, wake_at);
        }
        if (stopping_) {
            return;
        }
    }
}

void Background::stop() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) {
        thread.join();
    }
    threads_.clear();
}

}  // namespace molesignal
