#include "storage/tail_cache.h"

#include <utility>

namespace molesignal {

TailCache::TailCache(std::shared_ptr<MemoryBudget> budget, MetricRegistry& metrics)
    : budget_(std::move(budget)),
      hits_(metrics.counter("cache_hits_total", "Reads answered by a cache", {{"cache", "tail"}})),
      misses_(metrics.counter(
          "cache_misses_total", "Reads that a cache could not answer", {{"cache", "tail"}})),
      bytes_(metrics.gauge("cache_bytes", "Memory of a cache", {{"cache", "tail"}})) {}

TailCache::Tail TailCache::find(std::string_view key) {
    const MutexLock lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) {
        misses_.add(1);
        return nullptr;
    }
    hits_.add(1);
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->tail;
}

void TailCache::keep(const std::string& key, Tail tail) {
    // What an entry takes beside its bytes: two nodes, the key twice.
    constexpr std::size_t kEntryBytes = 512;
    const auto bytes = static_cast<std::int64_t>(tail->capacity() + kEntryBytes);
    const MutexLock lock(mutex_);
    if (by_key_.contains(key)) {
        return;
    }
    MemoryReservation memory(budget_);
    while (!memory.grow(bytes)) {
        if (entries_.empty() || bytes > budget_->limit_bytes()) {
            return;
        }
        by_key_.erase(entries_.back().key);
        entries_.pop_back();
    }
    entries_.push_front({key, std::move(tail), std::move(memory)});
    by_key_.emplace(key, entries_.begin());
    bytes_.set(static_cast<double>(budget_->used_bytes()));
}

}  // namespace molesignal
