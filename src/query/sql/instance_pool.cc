#include "query/sql/instance_pool.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

InstancePool::InstancePool(const SqlEngineOptions& options, std::shared_ptr<ObjectReader> objects)
    : options_(options), objects_(std::move(objects)) {
    prepare_spill_directory(options_.spill_directory);
}

Result<std::unique_ptr<EngineInstance>> InstancePool::take(const std::string& org) {
    // Taken apart outside the lock: closing a database takes milliseconds.
    std::unique_ptr<EngineInstance> others;
    {
        const MutexLock lock(mutex_);
        ++taken_;
        const auto found = std::ranges::find(
            idle_, org, &std::pair<std::string, std::unique_ptr<EngineInstance>>::first);
        if (found != idle_.end()) {
            auto instance = std::move(found->second);
            idle_.erase(found);
            return instance;
        }
        if (taken_ + idle_.size() > options_.concurrency_max && !idle_.empty()) {
            others = std::move(idle_.front().second);
            idle_.pop_front();
        }
    }
    others.reset();
    const auto spill =
        options_.spill_directory.empty()
            ? std::string()
            : fmt::format("{}/{}{}", options_.spill_directory, kSpillPrefix, ++made_);
    auto made = EngineInstance::make(options_, spill, objects_);
    if (!made) {
        give_back(org, nullptr);
    }
    return made;
}

void InstancePool::give_back(const std::string& org, std::unique_ptr<EngineInstance> instance) {
    const MutexLock lock(mutex_);
    --taken_;
    if (instance != nullptr) {
        idle_.emplace_back(org, std::move(instance));
    }
}

std::size_t InstancePool::idle() const {
    const MutexLock lock(mutex_);
    return idle_.size();
}

}  // namespace molesignal
