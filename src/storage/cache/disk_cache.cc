#include "storage/cache/disk_cache.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(disk_cache_before_rename);
MS_DEFINE_FAILPOINT(disk_cache_after_rename);
MS_DEFINE_FAILPOINT(disk_cache_before_remove);

/// What file systems round up to, and what a name and an inode take beside.
constexpr std::uint64_t kFileSystemBlock = 4096;
constexpr std::uint64_t kNameBytes = 512;
constexpr std::string_view kTemporaries = "tmp";
/// After a failure the disk is left alone so long.
constexpr std::chrono::seconds kPause{10};
/// An entry takes memory too: files of less than this on the average do not use the room up.
constexpr std::uint64_t kAverageFileBytesMin = 16U << 10U;
constexpr std::size_t kHashDigits = 32;

std::uint64_t on_disk(std::uint64_t file_bytes) {
    return (file_bytes + kFileSystemBlock - 1) / kFileSystemBlock * kFileSystemBlock + kNameBytes;
}

std::string file_name(const ObjectHash& object, std::uint64_t block) {
    return fmt::format("{:016x}{:016x}-{:x}", object.high, object.low, block);
}

bool parse_hex(std::string_view text, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return error == std::errc() && end == text.data() + text.size();
}

/// The key that a file's name says; nothing if it is none of ours.
std::optional<std::pair<ObjectHash, std::uint64_t>> parse_file_name(std::string_view name) {
    std::pair<ObjectHash, std::uint64_t> key;
    const bool good = name.size() > kHashDigits + 1 && name[kHashDigits] == '-' &&
                      parse_hex(name.substr(0, 16), key.first.high) &&
                      parse_hex(name.substr(16, 16), key.first.low) &&
                      parse_hex(name.substr(kHashDigits + 1), key.second);
    return good && name == file_name(key.first, key.second) ? std::optional(key) : std::nullopt;
}

}  // namespace

DiskCache::Metrics::Metrics(MetricRegistry& metrics)
    : hits(metrics.counter("cache_hits_total", "Reads answered by a cache", {{"cache", "disk"}})),
      misses(metrics.counter(
          "cache_misses_total", "Reads that a cache could not answer", {{"cache", "disk"}})),
      evictions(metrics.counter("cache_evictions_total",
                                "Entries that went to make room for others",
                                {{"cache", "disk"}})),
      damaged(metrics.counter("cache_damaged_total",
                              "Files of the disk cache that were damaged or of something else")),
      failures(metrics.counter("cache_disk_failures_total",
                               "Files of the disk cache that could not be read or written")),
      bytes(metrics.gauge("cache_bytes", "Size of what a cache keeps", {{"cache", "disk"}})),
      entries(metrics.gauge("cache_entries", "Entries that a cache keeps", {{"cache", "disk"}})) {}

DiskCache::DiskCache(DiskCacheOptions options,
                     FileSystem& fs,
                     Clock& clock,
                     MetricRegistry& metrics)
    : options_(std::move(options)),
      fs_(fs),
      clock_(clock),
      metrics_(metrics),
      entries_max_(std::max<std::uint64_t>(64, options_.bytes_max / kAverageFileBytesMin)),
      pause_until_(clock.steady_now()) {
    MS_ASSERT(options_.block_bytes > 0);
}

Result<std::unique_ptr<DiskCache>> DiskCache::open(DiskCacheOptions options,
                                                   FileSystem& fs,
                                                   Clock& clock,
                                                   MetricRegistry& metrics) {
    std::unique_ptr<DiskCache> cache(new DiskCache(std::move(options), fs, clock, metrics));
    MS_TRY_VOID(cache->scan());
    return cache;
}

std::string DiskCache::path_of(const Key& key) const {
    return fmt::format("{}/{:02x}/{}",
                       options_.directory,
                       key.first.high >> 56U,
                       file_name(key.first, key.second));
}

/// Names and sizes only; a file is read when its block is wanted. The order of use is lost.
Result<> DiskCache::scan() {
    const auto temporaries = join_path(options_.directory, std::string(kTemporaries));
    MS_TRY_VOID(fs_.create_directories(temporaries));
    MS_TRY(lock_, fs_.lock_directory(options_.directory));
    MS_TRY(const auto left_behind, fs_.list(temporaries));
    for (const auto& entry : left_behind) {
        MS_TRY_VOID(fs_.remove(join_path(temporaries, entry.name)));
    }
    MS_TRY(const auto entries, fs_.list(options_.directory));
    for (const auto& entry : entries) {
        std::uint64_t number = 0;
        if (entry.kind == EntryKind::kDirectory && entry.name.size() == 2 &&
            parse_hex(entry.name, number)) {
            MS_TRY_VOID(scan_directory(join_path(options_.directory, entry.name)));
        }
    }
    return {};
}

Result<> DiskCache::scan_directory(const std::string& directory) {
    MS_TRY(const auto files, fs_.list(directory));
    std::vector<Key> victims;
    {
        const MutexLock lock(mutex_);
        for (const auto& file : files) {
            if (const auto key = parse_file_name(file.name); key) {
                insert(*key, on_disk(file.size));
            }
        }
        // The setting may be smaller than it was.
        evict_until(options_.bytes_max, victims);
    }
    remove_files(victims);
    return {};
}

std::uint64_t DiskCache::bytes() {
    const MutexLock lock(mutex_);
    return bytes_;
}

std::uint64_t DiskCache::entries() {
    const MutexLock lock(mutex_);
    return by_key_.size();
}

void DiskCache::insert(const Key& key, std::uint64_t bytes) {
    erase(key);
    used_.push_front(key);
    by_key_[key] = {.bytes = bytes, .place = used_.begin()};
    bytes_ += bytes;
    metrics_.bytes.set(static_cast<double>(bytes_));
    metrics_.entries.set(static_cast<double>(by_key_.size()));
}

bool DiskCache::erase(const Key& key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) {
        return false;
    }
    bytes_ -= found->second.bytes;
    used_.erase(found->second.place);
    by_key_.erase(found);
    metrics_.bytes.set(static_cast<double>(bytes_));
    metrics_.entries.set(static_cast<double>(by_key_.size()));
    return true;
}

void DiskCache::evict_until(std::uint64_t bytes_max, std::vector<Key>& victims) {
    while (!used_.empty() &&
           (bytes_ + coming_bytes_ > bytes_max || by_key_.size() > entries_max_)) {
        victims.push_back(used_.back());
        erase(victims.back());
        metrics_.evictions.add();
    }
}

void DiskCache::remove_files(const std::vector<Key>& victims) {
    for (const auto& key : victims) {
        auto removed = disk_cache_before_remove.pass();
        if (removed) {
            removed = fs_.remove(path_of(key));
        }
        if (!removed && removed.error().code() != ErrorCode::kNotFound) {
            note_failure("remove", removed.error());
        }
    }
}

void DiskCache::note_failure(std::string_view what, const Error& error) {
    metrics_.failures.add();
    bool is_new = false;
    {
        const MutexLock lock(mutex_);
        is_new = !std::exchange(is_failing_, true);
        pause_until_ = clock_.steady_now() + kPause;
    }
    if (is_new) {
        log_warn(
            "the disk cache fails; reads go on without it",
            {{"directory", options_.directory}, {"operation", what}, {"error", error.message()}});
    }
}

Result<ByteBuffer> DiskCache::read_block(const std::string& path, const DiskBlockName& name) {
    MS_TRY(const auto file, fs_.open(path, OpenMode::kRead));
    // One byte more than it should have: a longer file is another one.
    ByteBuffer content(name.file_bytes() + 1);
    MS_TRY(const auto got, file->read_at(0, content));
    content.resize(got);
    return content;
}

std::optional<SharedBytes> DiskCache::find(const ObjectName& object,
                                           std::uint64_t block,
                                           Look look) {
    const auto count = look == Look::kCounted ? 1 : 0;
    const Key key(ObjectHash::of(object.key), block);
    {
        const MutexLock lock(mutex_);
        const auto found = by_key_.find(key);
        if (found == by_key_.end()) {
            metrics_.misses.add(count);
            return std::nullopt;
        }
        used_.splice(used_.begin(), used_, found->second.place);
    }
    const auto name = name_of(object, block);
    const auto path = path_of(key);
    auto read = read_block(path, name);
    if (read) {
        if (const auto content = decode_disk_block(name, *read)) {
            const auto at = static_cast<std::size_t>(content->data() - read->data());
            const auto bytes = content->size();
            metrics_.hits.add(count);
            return SharedBytes::of(std::move(*read)).sub(at, bytes);
        } else {
            metrics_.damaged.add();
            log_warn("a file of the disk cache is damaged; the object is read instead",
                     {{"path", path}, {"error", content.error().message()}});
        }
    } else if (read.error().code() != ErrorCode::kNotFound) {
        note_failure("read", read.error());
    }
    metrics_.misses.add(count);
    {
        const MutexLock lock(mutex_);
        erase(key);
    }
    remove_files({key});
    return std::nullopt;
}

bool DiskCache::make_room(const Key& key, std::uint64_t bytes, std::vector<Key>& victims) {
    if (bytes > options_.bytes_max) {
        return false;
    }
    const auto space = fs_.space(options_.directory);
    if (!space) {
        note_failure("ask for space", space.error());
        return false;
    }
    const auto reserve =
        std::min(options_.free_bytes_min,
                 static_cast<std::uint64_t>(static_cast<double>(space->total_bytes) *
                                            options_.free_ratio_min));
    const MutexLock lock(mutex_);
    erase(key);
    // Others need the disk: twice as much goes as comes, and without entries nothing comes.
    const bool is_tight = space->available_bytes < reserve + bytes;
    if ((is_tight && bytes_ < 2 * bytes) || coming_bytes_ + bytes > options_.bytes_max) {
        return false;
    }
    const auto less = is_tight ? 2 * bytes : 0;
    const auto bytes_max = std::min(options_.bytes_max, bytes_ + coming_bytes_ + bytes - less);
    coming_bytes_ += bytes;
    evict_until(bytes_max, victims);
    return true;
}

Result<> DiskCache::write_block(const Key& key, Bytes content) {
    const auto temporary =
        fmt::format("{}/{}/{}", options_.directory, kTemporaries, ++temporaries_);
    const auto path = path_of(key);
    const auto write = [&]() -> Result<> {
        MS_TRY(const auto file, fs_.open(temporary, OpenMode::kCreateNew));
        MS_TRY_VOID(file->write_at(0, content));
        MS_TRY_VOID(file->close());
        MS_PASS_FAILPOINT(disk_cache_before_rename);
        auto renamed = fs_.rename(temporary, path);
        if (!renamed && renamed.error().code() == ErrorCode::kNotFound) {
            MS_TRY_VOID(fs_.create_directories(parent_path(path)));
            renamed = fs_.rename(temporary, path);
        }
        MS_TRY_VOID(renamed);
        MS_PASS_FAILPOINT(disk_cache_after_rename);
        return {};
    };
    auto written = write();
    if (!written) {
        (void)fs_.remove(temporary);
        // A file that nobody counts would take room until the next start.
        (void)fs_.remove(path);
    }
    return written;
}

void DiskCache::keep(const ObjectName& object, std::uint64_t block, Bytes content) {
    {
        const MutexLock lock(mutex_);
        if (clock_.steady_now() < pause_until_) {
            return;
        }
    }
    const auto name = name_of(object, block);
    const Key key(ObjectHash::of(object.key), block);
    const auto bytes = on_disk(name.file_bytes());
    std::vector<Key> victims;
    const bool has_room = make_room(key, bytes, victims);
    remove_files(victims);
    if (!has_room) {
        return;
    }
    const auto written = write_block(key, encode_disk_block(name, content));
    bool works_again = false;
    {
        const MutexLock lock(mutex_);
        coming_bytes_ -= bytes;
        if (written) {
            insert(key, bytes);
            works_again = std::exchange(is_failing_, false);
        }
    }
    if (!written) {
        note_failure("write", written.error());
    } else if (works_again) {
        log_info("the disk cache works again", {{"directory", options_.directory}});
    }
}

void DiskCache::forget(std::string_view key) {
    const auto object = ObjectHash::of(key);
    std::vector<Key> victims;
    {
        const MutexLock lock(mutex_);
        for (auto found = by_key_.lower_bound(Key(object, 0));
             found != by_key_.end() && found->first.first == object;
             ++found) {
            victims.push_back(found->first);
        }
        for (const auto& victim : victims) {
            erase(victim);
        }
    }
    remove_files(victims);
}

}  // namespace molesignal
