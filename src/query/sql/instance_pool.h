#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "common/mutex.h"
#include "common/result.h"
#include "query/sql/engine_instance.h"
#include "query/sql/sql_engine.h"

namespace molesignal {

/// Prepared DuckDB instances, at most SqlEngineOptions::concurrency_max of them. One that served an
/// organisation serves no other. Thread-safe.
class InstancePool {
public:
    /// Removes what instances of an earlier process spilled.
    InstancePool(const SqlEngineOptions& options, std::shared_ptr<ObjectReader> objects);

    /// An idle instance of the organisation, or a new one. kInternal: DuckDB could not be started.
    Result<std::unique_ptr<EngineInstance>> take(const std::string& org);
    /// Ends what `take` began. Null: the instance is not to be used again and is gone already.
    void give_back(const std::string& org, std::unique_ptr<EngineInstance> instance);
    std::size_t idle() const;

private:
    const SqlEngineOptions options_;
    const std::shared_ptr<ObjectReader> objects_;
    std::atomic<std::uint64_t> made_{0};
    mutable Mutex mutex_;
    std::size_t taken_ MS_GUARDED_BY(mutex_) = 0;
    /// By organisation, the longest idle first.
    std::deque<std::pair<std::string, std::unique_ptr<EngineInstance>>> idle_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
