#include "roles/open_stores.h"

#include <fmt/format.h>

#include "metadata/open_catalogue.h"
#include "metadata/sqlite/sqlite_file_state.h"
#include "objectstore/local_object_store.h"
#include "storage/part_dump/part_dump_reader.h"

namespace molesignal {

Result<OpenObjectStore> open_object_store(const RequestContext& context,
                                          const Config& config,
                                          StoreUse use,
                                          FileSystem& fs,
                                          Clock& clock,
                                          Random& random) {
    const auto& options = config.store.object;
    OpenObjectStore opened;
    if (options.backend == ObjectBackend::kLocal && use == StoreUse::kLook) {
        opened.store = LocalObjectStore::attach(fs, resolve_path(config, options.root), random);
        return opened;
    }
    if (options.backend == ObjectBackend::kLocal) {
        MS_TRY(opened.store,
               LocalObjectStore::open(context, fs, resolve_path(config, options.root), random));
        return opened;
    }
    MS_TRY(opened.library, S3Library::start());
    MS_TRY(opened.store,
           S3ObjectStore::open(
               {.endpoint = options.endpoint,
                .region = options.region,
                .bucket = options.bucket,
                .prefix = options.prefix,
                .access_key = options.access_key,
                .secret_key = options.secret_key,
                .path_style = options.path_style,
                .op_timeout = std::chrono::seconds(options.op_timeout_secs),
                .max_concurrency = static_cast<std::size_t>(options.max_concurrency),
                .max_attempts = static_cast<int>(options.retry.max_attempts),
                .base_backoff = std::chrono::milliseconds(options.retry.base_backoff_ms),
                .max_backoff = std::chrono::milliseconds(options.retry.max_backoff_ms),
                .jitter_ratio = options.retry.jitter_ratio},
               fs,
               clock,
               random));
    return opened;
}

OpenObjectReader make_object_reader(const Config& config,
                                    ObjectStore& objects,
                                    const std::shared_ptr<MemoryBudget>& memory,
                                    FileSystem& fs,
                                    Clock& clock,
                                    MetricRegistry& metrics) {
    // A request to a remote store takes as long as half a megabyte of its answer.
    constexpr std::uint64_t kLocalGap = 64U << 10U;
    constexpr std::uint64_t kRemoteGap = 512U << 10U;
    constexpr std::size_t kReadAheadThreads = 4;
    const bool is_remote = config.store.object.backend != ObjectBackend::kLocal;
    const auto& cache = config.cache;
    std::unique_ptr<MemoryCache> in_memory;
    if (cache.memory_mb > 0) {
        in_memory = std::make_unique<MemoryCache>(
            memory->make_child(
                "footers and index blocks", "cache.memory_mb", cache.memory_mb << 20U),
            metrics);
    }
    OpenObjectReader opened;
    const auto mode = cache.disk_cache.mode;
    std::unique_ptr<DiskCache> on_disk;
    if (cache.disk_cache.max_size_gb > 0 &&
        (mode == DiskCacheMode::kAlways || (mode == DiskCacheMode::kRemote && is_remote))) {
        constexpr double kGibibyte = 1U << 30U;
        const auto directory = resolve_path(config, cache.disk_cache.dir);
        auto disk = DiskCache::open(
            {.directory = directory,
             .bytes_max = static_cast<std::uint64_t>(cache.disk_cache.max_size_gb * kGibibyte)},
            fs,
            clock,
            metrics);
        if (disk) {
            on_disk = std::move(*disk);
        } else {
            opened.problem = fmt::format(
                "the disk cache (cache.disk_cache.dir) cannot be used, queries run without it: {}",
                disk.error().message());
        }
    }
    opened.reader = std::make_shared<ObjectReader>(
        objects,
        ObjectReaderOptions{.gap_bytes = is_remote ? kRemoteGap : kLocalGap,
                            .read_ahead_threads = is_remote ? kReadAheadThreads : 0,
                            .memory = memory},
        std::move(in_memory),
        std::move(on_disk),
        clock,
        metrics);
    return opened;
}

std::shared_ptr<ObjectReader> plain_object_reader(ObjectStore& objects,
                                                  Clock& clock,
                                                  MetricRegistry& metrics) {
    return std::make_shared<ObjectReader>(
        objects, ObjectReaderOptions{}, nullptr, nullptr, clock, metrics);
}

std::shared_ptr<PartDumpReader> make_part_dump_reader(std::shared_ptr<ObjectReader> reader,
                                                      const std::shared_ptr<MemoryBudget>& memory,
                                                      Clock& clock,
                                                      MetricRegistry& metrics) {
    // A query over years wants hundreds of lists, and a remote store takes its time for each.
    constexpr std::size_t kThreads = 4;
    return std::make_shared<CachedPartDumpReader>(
        std::move(reader),
        PartDumpReaderOptions{.threads = kThreads, .memory = memory},
        clock,
        metrics);
}

Result<std::unique_ptr<Catalogue>> open_catalogue(const Config& config,
                                                  Clock& clock,
                                                  Random& random) {
    const auto& options = config.store.meta;
    if (options.backend == MetaBackend::kSqlite) {
        return open_sqlite_catalogue(resolve_path(config, options.path), clock, random);
    }
    return open_postgres_catalogue(
        options.dsn, static_cast<std::size_t>(options.max_connections), clock, random);
}

Result<std::unique_ptr<Catalogue>> open_catalogue_beside(const RequestContext& context,
                                                         const Config& config,
                                                         FileSystem& fs,
                                                         Clock& clock,
                                                         Random& random) {
    const auto& options = config.store.meta;
    if (options.backend != MetaBackend::kSqlite) {
        return open_postgres_catalogue_beside(context, options.dsn, clock, random);
    }
    const auto path = resolve_path(config, options.path);
    // Without a server whoever opens the file takes over its journal; SQLite would drop what stands
    // behind damage without a word. No server starts in between.
    const auto stopped = fs.lock_directory(config.node.data_dir);
    if (stopped) {
        MS_TRY(const auto damage, find_journal_damage(fs, path));
        if (!damage.empty()) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("the catalogue's journal {}-wal is damaged ({}); start the "
                                     "server, which says what is lost",
                                     path,
                                     damage));
        }
    } else if (stopped.error().code() != ErrorCode::kConflict) {
        return stopped.error();
    }
    return open_sqlite_catalogue_beside(context, path, clock, random);
}

}  // namespace molesignal
