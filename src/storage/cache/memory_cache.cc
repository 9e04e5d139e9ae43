#include "storage/cache/memory_cache.h"

#include <algorithm>
#include <string>
#include <utility>

namespace molesignal {
namespace {

/// What an entry takes beside its value: two nodes.
constexpr std::int64_t kEntryBytes = 256;
constexpr std::int64_t kShardBytesMin = 4 << 20;
constexpr std::int64_t kShardsMax = 16;
/// Of a shard's room, for what was found again.
constexpr std::int64_t kProtectedPercent = 80;
constexpr std::array<const char*, kCachedKinds> kNames = {
    "footer", "index_head", "index_block", "parsed_footer", "part_list"};

}  // namespace

MemoryCache::MemoryCache(std::shared_ptr<MemoryBudget> budget, MetricRegistry& metrics)
    : budget_(std::move(budget)) {
    for (std::size_t kind = 0; kind < kCachedKinds; ++kind) {
        const MetricLabels labels = {{"cache", kNames[kind]}};
        by_kind_[kind] = {
            .hits = &metrics.counter("cache_hits_total", "Reads answered by a cache", labels),
            .misses = &metrics.counter(
                "cache_misses_total", "Reads that a cache could not answer", labels),
            .evictions = &metrics.counter(
                "cache_evictions_total", "Entries that went to make room for others", labels),
            .bytes = &metrics.gauge("cache_bytes", "Size of what a cache keeps", labels),
            .entries = &metrics.gauge("cache_entries", "Entries that a cache keeps", labels)};
    }
    const auto shards =
        std::clamp<std::int64_t>(budget_->limit_bytes() / kShardBytesMin, 1, kShardsMax);
    for (std::int64_t i = 0; i < shards; ++i) {
        shards_.push_back(std::make_unique<Shard>());
    }
    shard_bytes_max_ = budget_->limit_bytes() / shards;
}

MemoryCache::Shard& MemoryCache::shard_of(const Key& key) {
    constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15;
    const auto hash = (key.object.low ^ (key.offset >> 4U)) * kSpread;
    return *shards_[(hash >> 32U) % shards_.size()];
}

void MemoryCache::drop(Shard& shard, Entries::iterator entry, Entries& dropped) {
    const auto bytes = entry->memory.bytes();
    shard.bytes -= bytes;
    shard.protected_bytes -= entry->is_protected ? bytes : 0;
    metrics_of(entry->key).bytes->add(-static_cast<double>(bytes));
    metrics_of(entry->key).entries->add(-1);
    shard.by_key.erase(entry->key);
    entry->memory.reset();
    dropped.splice(
        dropped.begin(), entry->is_protected ? shard.seen_again : shard.seen_once, entry);
}

bool MemoryCache::evict_one(Shard& shard, Entries& dropped) {
    auto& entries = shard.seen_once.empty() ? shard.seen_again : shard.seen_once;
    if (entries.empty()) {
        return false;
    }
    metrics_of(entries.back().key).evictions->add();
    drop(shard, std::prev(entries.end()), dropped);
    return true;
}

void MemoryCache::protect(Shard& shard, Entries::iterator entry) {
    if (entry->is_protected) {
        shard.seen_again.splice(shard.seen_again.begin(), shard.seen_again, entry);
        return;
    }
    entry->is_protected = true;
    shard.protected_bytes += entry->memory.bytes();
    shard.seen_again.splice(shard.seen_again.begin(), shard.seen_once, entry);
    while (shard.protected_bytes * 100 > shard_bytes_max_ * kProtectedPercent) {
        // The longest unused of them has one more chance among the others.
        const auto last = std::prev(shard.seen_again.end());
        last->is_protected = false;
        shard.protected_bytes -= last->memory.bytes();
        shard.seen_once.splice(shard.seen_once.begin(), shard.seen_again, last);
    }
}

MemoryCache::Value MemoryCache::find(const Key& key, Look look) {
    auto& shard = shard_of(key);
    {
        const MutexLock lock(shard.mutex);
        if (const auto found = shard.by_key.find(key); found != shard.by_key.end()) {
            protect(shard, found->second);
            metrics_of(key).hits->add(look == Look::kCounted ? 1 : 0);
            return found->second->value;
        }
    }
    metrics_of(key).misses->add(look == Look::kCounted ? 1 : 0);
    return nullptr;
}

void MemoryCache::keep(const Key& key, Value value, std::size_t bytes) {
    const auto wanted = static_cast<std::int64_t>(bytes) + kEntryBytes;
    if (wanted > shard_bytes_max_) {
        return;
    }
    Entries dropped;  // Freed behind the lock.
    auto& shard = shard_of(key);
    const MutexLock lock(shard.mutex);
    if (shard.by_key.contains(key)) {
        return;
    }
    while (shard.bytes + wanted > shard_bytes_max_) {
        evict_one(shard, dropped);
    }
    MemoryReservation memory(budget_);
    // The process has no memory: what is older gives way.
    while (!memory.grow(wanted)) {
        if (!evict_one(shard, dropped)) {
            return;
        }
    }
    shard.seen_once.push_front({key, std::move(value), std::move(memory)});
    shard.by_key.emplace(key, shard.seen_once.begin());
    shard.bytes += wanted;
    metrics_of(key).bytes->add(static_cast<double>(wanted));
    metrics_of(key).entries->add(1);
}

void MemoryCache::forget(const ObjectHash& object) {
    for (const auto& shard : shards_) {
        Entries dropped;
        const MutexLock lock(shard->mutex);
        auto found = shard->by_key.lower_bound(Key{.object = object});
        while (found != shard->by_key.end() && found->first.object == object) {
            const auto entry = (found++)->second;
            drop(*shard, entry, dropped);
        }
    }
}

}  // namespace molesignal
