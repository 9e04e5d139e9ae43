#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/mutex.h"

namespace molesignal {

/// The ends of objects, where their footers are, in memory. Objects never change, so an entry is
/// good for ever; the one that was used longest ago goes first. Thread-safe.
class TailCache {
public:
    using Tail = std::shared_ptr<const ByteBuffer>;

    /// Keeps as much as `budget` allows; 0: nothing. `metrics` outlives the cache.
    TailCache(std::shared_ptr<MemoryBudget> budget, MetricRegistry& metrics);

    /// The end of an object, or null.
    Tail find(std::string_view key);
    /// Keeps a tail, which must have been verified. One that does not fit is not kept.
    void keep(const std::string& key, Tail tail);

private:
    struct Entry {
        std::string key;
        Tail tail;
        MemoryReservation memory;
    };
    using Entries = std::list<Entry>;  // The last used first.

    std::shared_ptr<MemoryBudget> budget_;
    Counter& hits_;
    Counter& misses_;
    Gauge& bytes_;
    Mutex mutex_;
    Entries entries_ MS_GUARDED_BY(mutex_);
    std::map<std::string, Entries::iterator, std::less<>> by_key_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
