#include "roles/open_stores.h"

#include "metadata/open_catalogue.h"
#include "objectstore/local_object_store.h"

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

}  // namespace molesignal
