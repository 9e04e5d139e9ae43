#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/result.h"
#include "io/file_system.h"
#include "storage/cache/disk_block_format.h"
#include "storage/cache/object_name.h"
#include "storage/cache/shared_bytes.h"

namespace molesignal {

struct DiskCacheOptions {
    std::string directory;
    std::uint64_t bytes_max = 0;  ///< With what the file system rounds up.
    std::uint32_t block_bytes = 128U << 10U;
    /// So much of the file system stays free for others: this share, but no more than these bytes.
    double free_ratio_min = 0.05;
    std::uint64_t free_bytes_min = std::uint64_t{5} << 30U;
};

/// Blocks of objects as files on a local disk, those used last, within a bound; they survive a
/// restart.
///
/// A file says which block of which object it is and has a checksum over all, looked at each time
/// it is read: one that is damaged or stale is removed, counted, and not found. Nothing here fails
/// who asks: a block that cannot be read is not found, one that cannot be written is not kept
/// (logged once, and not tried again for a while). Files are not synced: what a power cut leaves
/// of one does not pass its checksum. Thread-safe; the directory is locked against other processes.
class DiskCache {
public:
    /// Makes the directory if it is missing, and finds what an earlier process has left. The
    /// references outlive the cache. kConflict: another process uses the directory; errors of the
    /// file system.
    static Result<std::unique_ptr<DiskCache>> open(DiskCacheOptions options,
                                                   FileSystem& fs,
                                                   Clock& clock,
                                                   MetricRegistry& metrics);

    /// Whether a look counts as a hit or a miss.
    enum class Look : std::uint8_t { kCounted = 1, kAgain = 2 };
    /// The content of a block, if it is kept.
    std::optional<SharedBytes> find(const ObjectName& object, std::uint64_t block, Look look);
    /// Keeps a block. `content` has exactly the block's bytes.
    void keep(const ObjectName& object, std::uint64_t block, Bytes content);
    /// Removes the blocks of an object.
    void forget(std::string_view key);

    std::uint32_t block_bytes() const { return options_.block_bytes; }
    std::uint64_t bytes();
    std::uint64_t entries();

private:
    using Key = std::pair<ObjectHash, std::uint64_t>;  // Object and block.
    struct Entry {
        std::uint64_t bytes = 0;  ///< On disk.
        std::list<Key>::iterator place;
    };
    struct Metrics {
        explicit Metrics(MetricRegistry& metrics);
        Counter& hits;
        Counter& misses;
        Counter& evictions;
        Counter& damaged;
        Counter& failures;
        Gauge& bytes;
        Gauge& entries;
    };

    DiskCache(DiskCacheOptions options, FileSystem& fs, Clock& clock, MetricRegistry& metrics);
    Result<> scan();
    Result<> scan_directory(const std::string& directory);
    std::string path_of(const Key& key) const;
    DiskBlockName name_of(const ObjectName& object, std::uint64_t block) const {
        return {.object = &object, .block_bytes = options_.block_bytes, .block = block};
    }
    Result<ByteBuffer> read_block(const std::string& path, const DiskBlockName& name);
    Result<> write_block(const Key& key, Bytes file);
    /// Makes room for a file; the blocks that must go for it are in `victims`. False: it is not
    /// to be kept.
    bool make_room(const Key& key, std::uint64_t bytes, std::vector<Key>& victims);
    void evict_until(std::uint64_t bytes_max, std::vector<Key>& victims) MS_REQUIRES(mutex_);
    void insert(const Key& key, std::uint64_t bytes) MS_REQUIRES(mutex_);
    bool erase(const Key& key) MS_REQUIRES(mutex_);
    void remove_files(const std::vector<Key>& victims);
    void note_failure(std::string_view what, const Error& error);

    DiskCacheOptions options_;
    FileSystem& fs_;
    Clock& clock_;
    Metrics metrics_;
    std::unique_ptr<DirectoryLock> lock_;
    std::uint64_t entries_max_;
    std::atomic<std::uint64_t> temporaries_{0};
    Mutex mutex_;
    std::map<Key, Entry> by_key_ MS_GUARDED_BY(mutex_);
    std::list<Key> used_ MS_GUARDED_BY(mutex_);  ///< The last used first.
    std::uint64_t bytes_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t coming_bytes_ MS_GUARDED_BY(mutex_) = 0;  ///< Of files that are being written.
    bool is_failing_ MS_GUARDED_BY(mutex_) = false;         ///< Said in the log.
    SteadyNanos pause_until_ MS_GUARDED_BY(mutex_);         ///< Nothing is written before.
};

}  // namespace molesignal
