#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "storage/cache/object_name.h"

namespace molesignal {

/// What of an object is kept in memory; each kind has one type of value.
enum class CachedKind : std::uint8_t {
    kFooter = 0,        ///< The end of a Parquet object.
    kIndexHead = 1,     ///< An opened index.
    kIndexBlock = 2,    ///< A block of an index.
    kParsedFooter = 3,  ///< A footer as the reader of Parquet parses it.
    kPartList = 4,      ///< The parts that a dump lists.
};
inline constexpr std::size_t kCachedKinds = 5;

/// Footers, index blocks and lists of parts in memory, of all queries, within one budget.
///
/// Only what was verified is kept, so a hit needs no second look. Values are shared, never copied;
/// one that is evicted lives on with who uses it. What was found once more is protected from what
/// was seen only once, in four fifths of the room: a scan over many parts does not flush the blocks
/// that every query needs. In shards with a lock each. Thread-safe.
class MemoryCache {
public:
    using Value = std::shared_ptr<const void>;
    struct Key {
        ObjectHash object;
        CachedKind kind = CachedKind::kFooter;
        std::uint64_t offset = 0;
        friend auto operator<=>(const Key&, const Key&) = default;
    };
    /// Whether a look counts as a hit or a miss.
    enum class Look : std::uint8_t { kCounted = 1, kAgain = 2 };

    /// Keeps as much as `budget` allows. `metrics` outlives the cache.
    MemoryCache(std::shared_ptr<MemoryBudget> budget, MetricRegistry& metrics);

    /// Null if it is not kept.
    Value find(const Key& key, Look look = Look::kCounted);
    /// Keeps a verified value of `bytes`. One that does not fit is not kept; one that is kept
    /// already stays.
    void keep(const Key& key, Value value, std::size_t bytes);
    /// Drops what is kept of an object.
    void forget(const ObjectHash& object);

private:
    struct Entry {
        Key key;
        Value value;
        MemoryReservation memory;
        bool is_protected = false;
    };
    using Entries = std::list<Entry>;  // The last used first.
    struct Shard {
        Mutex mutex;
        Entries seen_once MS_GUARDED_BY(mutex);
        Entries seen_again MS_GUARDED_BY(mutex);
        std::map<Key, Entries::iterator> by_key MS_GUARDED_BY(mutex);
        std::int64_t bytes MS_GUARDED_BY(mutex) = 0;
        std::int64_t protected_bytes MS_GUARDED_BY(mutex) = 0;
    };
    struct KindMetrics {
        Counter* hits;
        Counter* misses;
        Counter* evictions;
        Gauge* bytes;
        Gauge* entries;
    };

    Shard& shard_of(const Key& key);
    void protect(Shard& shard, Entries::iterator entry) MS_REQUIRES(shard.mutex);
    /// Moves what must go to `dropped`, which is freed without the lock.
    bool evict_one(Shard& shard, Entries& dropped) MS_REQUIRES(shard.mutex);
    void drop(Shard& shard, Entries::iterator entry, Entries& dropped) MS_REQUIRES(shard.mutex);
    KindMetrics& metrics_of(const Key& key) { return by_kind_[static_cast<std::size_t>(key.kind)]; }

    std::shared_ptr<MemoryBudget> budget_;
    std::array<KindMetrics, kCachedKinds> by_kind_;
    std::vector<std::unique_ptr<Shard>> shards_;
    std::int64_t shard_bytes_max_;
};

}  // namespace molesignal
