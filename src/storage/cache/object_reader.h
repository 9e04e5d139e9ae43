#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/request_context.h"
#include "common/result.h"
#include "common/thread_pool.h"
#include "objectstore/object_store.h"
#include "storage/cache/disk_cache.h"
#include "storage/cache/flights.h"
#include "storage/cache/memory_cache.h"
#include "storage/cache/object_name.h"
#include "storage/cache/shared_bytes.h"

namespace molesignal {

/// What reads took; they add to it.
struct ReadTally {
    std::int64_t gets = 0;   ///< Requests to the object store.
    std::int64_t bytes = 0;  ///< Got by them.
    std::int64_t hits = 0;   ///< Reads that a cache, or another query's request, answered.
};

struct ObjectReaderOptions {
    /// Ranges with no more between them are read in one request.
    std::uint64_t gap_bytes = 64U << 10U;
    /// Threads that read ahead into the disk cache; 0: none.
    std::size_t read_ahead_threads = 0;
    std::shared_ptr<MemoryBudget> memory = nullptr;  ///< Of what is read ahead; null: no limit.
};

/// How queries read objects: by memory, then the local disk, then the object store; what several
/// want at the same time is asked for once.
///
///     MS_TRY(const auto read, reader.read(context, object, 0, 100, tally));
///     if (!verified(read.bytes)) reader.forget(object.key);  // … and read it once more.
///
/// Bytes come as the store or the disk has them: who reads them verifies them, as the catalogue or
/// checksums inside the object say, and only what was verified goes to memory. Thread-safe.
class ObjectReader {
public:
    /// `memory` and `disk` may be null. The references outlive the reader.
    ObjectReader(ObjectStore& objects,
                 const ObjectReaderOptions& options,
                 std::unique_ptr<MemoryCache> memory,
                 std::unique_ptr<DiskCache> disk,
                 Clock& clock,
                 MetricRegistry& metrics);

    /// Ends what is being read ahead.
    ~ObjectReader();
    ObjectReader(const ObjectReader&) = delete;
    ObjectReader& operator=(const ObjectReader&) = delete;

    /// Exactly the bytes [offset, offset + length) of the object, which lie in it. A read that
    /// reaches the object's end finds out whether it ends there. kCorruption: its size is not the
    /// catalogue's; kNotFound; errors of the store; kTimeout and kCancelled of the context.
    Result<SharedBytes> read(const RequestContext& context,
                             const ObjectName& object,
                             std::uint64_t offset,
                             std::uint64_t length,
                             ReadTally& tally);

    /// A verified value of one kind of an object, from memory or by `load`, which verifies it and
    /// says how many bytes it takes; 0: it is not to be kept.
    struct Loaded {
        MemoryCache::Value value;
        std::size_t bytes = 0;
    };
    Result<MemoryCache::Value> load(const RequestContext& context,
                                    const ObjectName& object,
                                    CachedKind kind,
                                    const std::function<Result<Loaded>()>& load,
                                    ReadTally& tally);

    /// Begins to bring a range to the disk cache, if there are threads, memory and a cache for it.
    /// `done` gets what it took, on another thread. A read of the range meanwhile waits for it.
    void read_ahead(const RequestContext& context,
                    const ObjectName& object,
                    std::uint64_t offset,
                    std::uint64_t length,
                    std::function<void(const ReadTally&)> done);
    bool reads_ahead() const { return pool_ != nullptr; }

    /// Drops what is cached of an object: it was removed, or turned out to be damaged.
    void forget(std::string_view key);

    /// Null: none.
    MemoryCache* memory() { return memory_.get(); }
    DiskCache* disk() { return disk_.get(); }
    std::uint64_t gap_bytes() const { return options_.gap_bytes; }

private:
    friend class BlockRead;
    /// One request to the store.
    Result<ByteBuffer> get(const RequestContext& context,
                           const ObjectName& object,
                           std::uint64_t offset,
                           std::uint64_t length,
                           ReadTally& tally);

    ObjectStore& objects_;
    ObjectReaderOptions options_;
    Clock& clock_;
    std::unique_ptr<MemoryCache> memory_;
    std::unique_ptr<DiskCache> disk_;
    Flights ranges_;
    Flights values_;
    Counter& merged_;
    Counter& ahead_;
    CancelToken closing_;
    std::unique_ptr<ThreadPool> pool_;  ///< Ends before what its tasks use.
};

}  // namespace molesignal
