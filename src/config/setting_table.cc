#include <array>

#include "config/setting.h"

namespace molesignal {

namespace {

using Words = std::string_view;
constexpr std::array<Words, 2> kAuthModes{"none", "token"};
constexpr std::array<Words, 3> kFlushStrategies{"batch", "every_write", "none"};
constexpr std::array<Words, 2> kSyncLevels{"data", "none"};
constexpr std::array<Words, 2> kObjectBackends{"local", "s3"};
constexpr std::array<Words, 3> kDiskCacheModes{"remote", "always", "never"};
constexpr std::array<Words, 2> kMetaBackends{"sqlite", "postgres"};
constexpr std::array<Words, 2> kPartitionLevels{"daily", "hourly"};
constexpr std::array<Words, 4> kLogLevels{"debug", "info", "warn", "error"};
constexpr std::array<Words, 2> kLogFormats{"text", "json"};

constexpr double kMiB = 1 << 20;
constexpr double kGiB = 1 << 30;
constexpr double kDaySecs = 86'400;

template <class Enum>
ChoiceRef choice(Enum& value) {
    static_assert(sizeof(Enum) == 1);
    return {reinterpret_cast<std::uint8_t*>(&value)};
}

// A table row's accessor: MEMBER(http.listen). A macro, because a pointer to a member of a member
// does not exist.
#define MS_MEMBER(path) +[](Config& c) -> SettingRef { return &c.path; }
#define MS_CHOICE(path) +[](Config& c) -> SettingRef { return choice(c.path); }

// clang-format off
const Setting kTable[] = {
    {.key = "node.data_dir", .meaning = "Directory that roots all relative paths (`--data-dir`).",
     .ref = MS_MEMBER(node.data_dir), .form = TextForm::kRequired},
    {.key = "node.drain_timeout_secs", .meaning = "Longest time that a shutdown waits for running requests and flushes.",
     .ref = MS_MEMBER(node.drain_timeout_secs), .minimum = 1, .maximum = 3600, .unit = "s"},

    {.key = "http.listen", .meaning = "Address of the HTTP API (`--http-listen`); port 0 takes a free one.",
     .ref = MS_MEMBER(http.listen), .form = TextForm::kAddress},
    {.key = "http.io_threads", .meaning = "Threads that read and write sockets.",
     .ref = MS_MEMBER(http.io_threads), .minimum = 1, .maximum = 256, .unit = "threads"},
    {.key = "http.handler_threads_max", .meaning = "Requests with rows that are worked on at once. Those that wait for a flush have a quarter of this beside it; those that flush, administration and sign-in an eighth each; metrics a sixteenth.",
     .ref = MS_MEMBER(http.handler_threads_max), .minimum = 1, .maximum = 4096, .unit = "threads"},
    {.key = "http.handler_queue_requests_max", .meaning = "Requests of each of these kinds that wait for a thread; beyond it 429 with Retry-After.",
     .ref = MS_MEMBER(http.handler_queue_requests_max), .minimum = 1, .maximum = 1e6, .unit = "requests"},
    {.key = "http.connections_max", .meaning = "Open connections; at so many the one that is idle longest is closed for a new one, and if none is idle the new one gets 503. Lowered to what the limit of open files allows.",
     .ref = MS_MEMBER(http.connections_max), .minimum = 1, .maximum = 1e6, .unit = "connections"},
    {.key = "http.url_bytes_max", .meaning = "Length of a request's URL; beyond it 414.",
     .ref = MS_MEMBER(http.url_bytes_max), .minimum = 256, .maximum = kMiB, .unit = "bytes"},
    {.key = "http.header_bytes_max", .meaning = "Length of a request's head; beyond it 431.",
     .ref = MS_MEMBER(http.header_bytes_max), .minimum = 1024, .maximum = kMiB, .unit = "bytes"},
    {.key = "http.body_bytes_max", .meaning = "One request's body, on the wire and after decompression, for every protocol (HTTP, OTLP, gRPC); beyond it 413.",
     .ref = MS_MEMBER(http.body_bytes_max), .minimum = 1024, .maximum = kGiB, .unit = "bytes"},
    {.key = "http.inflight_body_bytes_max", .meaning = "Bodies of all running requests together; beyond it 503 with Retry-After.",
     .ref = MS_MEMBER(http.inflight_body_bytes_max), .minimum = 1024, .maximum = 64 * kGiB, .unit = "bytes"},
    {.key = "http.header_timeout_ms", .meaning = "Time from a request's first byte to the end of its head; then 408.",
     .ref = MS_MEMBER(http.header_timeout_ms), .minimum = 100, .maximum = 600'000, .unit = "ms"},
    {.key = "http.body_idle_timeout_ms", .meaning = "In so much waiting for a body, `http.body_bytes_per_second_min` must come; else 408.",
     .ref = MS_MEMBER(http.body_idle_timeout_ms), .minimum = 100, .maximum = 600'000, .unit = "ms"},
    {.key = "http.body_bytes_per_second_min", .meaning = "Least rate of a body in every `http.body_idle_timeout_ms`; 0: any byte will do.",
     .ref = MS_MEMBER(http.body_bytes_per_second_min), .minimum = 0, .maximum = kGiB, .unit = "bytes/s"},
    {.key = "http.body_timeout_ms", .meaning = "Time from a request's head to the end of its body; then 408.",
     .ref = MS_MEMBER(http.body_timeout_ms), .minimum = 100, .maximum = 86'400'000, .unit = "ms"},
    {.key = "http.keepalive_timeout_ms", .meaning = "Time between two requests of a connection; then it is closed.",
     .ref = MS_MEMBER(http.keepalive_timeout_ms), .minimum = 100, .maximum = 3'600'000, .unit = "ms"},
    {.key = "http.write_timeout_ms", .meaning = "In so much waiting for the reader of an answer, `http.write_bytes_per_second_min` must go; else the connection is closed.",
     .ref = MS_MEMBER(http.write_timeout_ms), .minimum = 100, .maximum = 600'000, .unit = "ms"},
    {.key = "http.write_bytes_per_second_min", .meaning = "Least rate of an answer in every `http.write_timeout_ms`; 0: any byte will do.",
     .ref = MS_MEMBER(http.write_bytes_per_second_min), .minimum = 0, .maximum = kGiB, .unit = "bytes/s"},
    {.key = "http.retry_after_seconds", .meaning = "Value of Retry-After in answers 429 and 503 of the HTTP engine.",
     .ref = MS_MEMBER(http.retry_after_seconds), .minimum = 1, .maximum = 3600, .unit = "s"},
    {.key = "http.compress_bytes_min", .meaning = "Smaller answers are not compressed.",
     .ref = MS_MEMBER(http.compress_bytes_min), .minimum = 0, .maximum = kGiB, .unit = "bytes"},

    {.key = "grpc.listen", .meaning = "Address of the gRPC API (`--grpc-listen`).",
     .ref = MS_MEMBER(grpc.listen), .form = TextForm::kAddress},
    {.key = "grpc.threads_max", .meaning = "gRPC calls that are worked on at once.",
     .ref = MS_MEMBER(grpc.threads_max), .minimum = 1, .maximum = 4096, .unit = "threads"},
    {.key = "grpc.queue_requests_max", .meaning = "gRPC calls that wait for a thread or for their message; beyond it UNAVAILABLE with RetryInfo.",
     .ref = MS_MEMBER(grpc.queue_requests_max), .minimum = 1, .maximum = 1e6, .unit = "calls"},
    {.key = "otlp.grpc_listen", .meaning = "Address of OTLP over gRPC (`--otlp-grpc-listen`).",
     .ref = MS_MEMBER(otlp.grpc_listen), .form = TextForm::kAddress},
    {.key = "otlp.http_listen", .meaning = "Address of OTLP over HTTP (`--otlp-http-listen`).",
     .ref = MS_MEMBER(otlp.http_listen), .form = TextForm::kAddress},

    {.key = "auth.mode", .meaning = "`none`: everybody may do everything, on loopback addresses only. `token`: every request needs a token.",
     .ref = MS_CHOICE(auth.mode), .choices = kAuthModes},
    {.key = "auth.unknown_tokens_per_second_max", .meaning = "Tokens that are not known yet and are looked up in a second; beyond it 429 with Retry-After. Known ones are not concerned.",
     .ref = MS_MEMBER(auth.unknown_tokens_per_second_max), .minimum = 1, .maximum = 1e6, .unit = "tokens/s"},

    {.key = "wal.dir", .meaning = "Directory of the write-ahead log.",
     .ref = MS_MEMBER(wal.dir), .form = TextForm::kRequired},
    {.key = "wal.segment_size_mb", .meaning = "Size of one file of the log, allocated in advance.",
     .ref = MS_MEMBER(wal.segment_size_mb), .minimum = 1, .maximum = 4096, .unit = "MiB"},
    {.key = "wal.total_mb", .meaning = "Size of the whole log; above it writers get 429 until a flush has freed space.",
     .ref = MS_MEMBER(wal.total_mb), .minimum = 4, .maximum = 16e6, .unit = "MiB"},
    {.key = "wal.reserve_mb", .meaning = "Space kept aside, used to go on flushing when the disk is full.",
     .ref = MS_MEMBER(wal.reserve_mb), .minimum = 0, .maximum = 65'536, .unit = "MiB"},
    {.key = "wal.flush_strategy", .meaning = "`batch`: one sync serves all waiting writers, before they are acknowledged. `every_write`: a sync for each write. `none`: acknowledges before the sync; a power cut or crash of the machine can lose acknowledged rows.",
     .ref = MS_CHOICE(wal.flush_strategy), .choices = kFlushStrategies},
    {.key = "wal.sync_level", .meaning = "`data`: fdatasync (size and name of a segment are durable before its first record). `none`: acknowledges before the sync, as `wal.flush_strategy = none` does.",
     .ref = MS_CHOICE(wal.sync_level), .choices = kSyncLevels},

    {.key = "ingester.buffer_max_mb", .meaning = "Rows of one stream in memory; more are flushed to a Parquet part.",
     .ref = MS_MEMBER(ingester.buffer_max_mb), .minimum = 1, .maximum = 65'536, .unit = "MiB"},
    {.key = "ingester.max_buffer_memory_mb", .meaning = "Rows of all streams in memory; beyond it writers wait, then get 429.",
     .ref = MS_MEMBER(ingester.max_buffer_memory_mb), .minimum = 1, .maximum = 1e6, .unit = "MiB"},
    {.key = "ingester.flush_interval_secs", .meaning = "Longest time that rows stay in memory only.",
     .ref = MS_MEMBER(ingester.flush_interval_secs), .minimum = 1, .maximum = kDaySecs, .unit = "s",
     .when_unset = "30 to 300 s, by the amount waiting"},
    {.key = "ingester.flush_parallelism", .meaning = "Flushes that run at once.",
     .ref = MS_MEMBER(ingester.flush_parallelism), .minimum = 1, .maximum = 64, .unit = "threads"},
    {.key = "ingester.shard_idle_secs", .meaning = "A shard without writes for this long is flushed and closed.",
     .ref = MS_MEMBER(ingester.shard_idle_secs), .minimum = 1, .maximum = kDaySecs, .unit = "s"},
    {.key = "ingester.persist_timeout_ms", .meaning = "Longest time that a write waits for memory; then 429.",
     .ref = MS_MEMBER(ingester.persist_timeout_ms), .minimum = 1, .maximum = 600'000, .unit = "ms"},
    {.key = "ingester.streams_max", .meaning = "Streams of one organisation.",
     .ref = MS_MEMBER(ingester.streams_max), .minimum = 1, .maximum = 1e6, .unit = "streams"},
    {.key = "ingester.decode_memory_mb", .meaning = "Decoded rows of all requests until they are in the log; beyond it 429. One request may take half of it; more is 413.",
     .ref = MS_MEMBER(ingester.decode_memory_mb), .minimum = 16, .maximum = 1e6, .unit = "MiB"},
    {.key = "ingester.rows_per_request_max", .meaning = "Rows of one request; beyond it 413.",
     .ref = MS_MEMBER(ingester.rows_per_request_max), .minimum = 1, .maximum = 1e8, .unit = "rows", .reloads = true},
    {.key = "ingester.row_bytes_max", .meaning = "One row; a larger one is rejected, the others are kept.",
     .ref = MS_MEMBER(ingester.row_bytes_max), .minimum = 1024, .maximum = kGiB, .unit = "bytes", .reloads = true},
    {.key = "ingester.fields_per_stream_max", .meaning = "Columns of one stream; further fields go to `_extra`.",
     .ref = MS_MEMBER(ingester.fields_per_stream_max), .minimum = 1, .maximum = 10'000, .unit = "fields", .reloads = true},
    {.key = "ingester.field_name_bytes_max", .meaning = "Length of a field's name; longer ones go to `_extra`.",
     .ref = MS_MEMBER(ingester.field_name_bytes_max), .minimum = 16, .maximum = 4096, .unit = "bytes", .reloads = true},
    {.key = "ingester.nesting_depth_max", .meaning = "Depth to which objects become columns `a.b.c`; below it they are kept as JSON.",
     .ref = MS_MEMBER(ingester.nesting_depth_max), .minimum = 1, .maximum = 64, .unit = "levels", .reloads = true},
    {.key = "ingester.future_max_secs", .meaning = "Rows further ahead of the clock are rejected.",
     .ref = MS_MEMBER(ingester.future_max_secs), .minimum = 0, .maximum = 3650 * kDaySecs, .unit = "s", .reloads = true},
    {.key = "ingester.past_max_secs", .meaning = "Older rows are rejected.",
     .ref = MS_MEMBER(ingester.past_max_secs), .minimum = 60, .maximum = 36'500 * kDaySecs, .unit = "s",
     .when_unset = "the stream's retention", .reloads = true},
    {.key = "ingester.row_group_rows", .meaning = "Rows of one Parquet row group.",
     .ref = MS_MEMBER(ingester.row_group_rows), .minimum = 1024, .maximum = 1e7, .unit = "rows"},
    {.key = "ingester.zstd_level", .meaning = "Compression level of Parquet pages.",
     .ref = MS_MEMBER(ingester.zstd_level), .minimum = 1, .maximum = 19},
    {.key = "ingester.index", .meaning = "An index object for each part. Parts without one are searched by reading them.",
     .ref = MS_MEMBER(ingester.index)},

    {.key = "store.object.backend", .meaning = "Where parts are kept: a `local` directory or `s3`.",
     .ref = MS_CHOICE(store.object.backend), .choices = kObjectBackends},
    {.key = "store.object.root", .meaning = "`local`: the directory.",
     .ref = MS_MEMBER(store.object.root), .form = TextForm::kRequired},
    {.key = "store.object.endpoint", .meaning = "`s3`: URL of a server of one's own; empty: AWS.",
     .ref = MS_MEMBER(store.object.endpoint)},
    {.key = "store.object.region", .meaning = "`s3`: the region.",
     .ref = MS_MEMBER(store.object.region)},
    {.key = "store.object.bucket", .meaning = "`s3`: the bucket, which must exist.",
     .ref = MS_MEMBER(store.object.bucket)},
    {.key = "store.object.prefix", .meaning = "`s3`: put before every key.",
     .ref = MS_MEMBER(store.object.prefix)},
    {.key = "store.object.access_key", .meaning = "`s3`: key id; empty: the AWS SDK's chain (environment, profile, instance role).",
     .ref = MS_MEMBER(store.object.access_key), .form = TextForm::kSecret},
    {.key = "store.object.secret_key", .meaning = "`s3`: secret of the key.",
     .ref = MS_MEMBER(store.object.secret_key), .form = TextForm::kSecret},
    {.key = "store.object.path_style", .meaning = "`s3`: the bucket is the first part of the path instead of the host name.",
     .ref = MS_MEMBER(store.object.path_style)},
    {.key = "store.object.op_timeout_secs", .meaning = "Longest time of one operation, retries included; a put has as much more as its body takes at 1 MiB/s.",
     .ref = MS_MEMBER(store.object.op_timeout_secs), .minimum = 1, .maximum = 3600, .unit = "s"},
    {.key = "store.object.max_concurrency", .meaning = "Operations that run at once.",
     .ref = MS_MEMBER(store.object.max_concurrency), .minimum = 1, .maximum = 1024, .unit = "operations"},
    {.key = "store.object.health_probe_interval_secs", .meaning = "Time between two probes; three failed ones make `/healthz` answer 503.",
     .ref = MS_MEMBER(store.object.health_probe_interval_secs), .minimum = 1, .maximum = 3600, .unit = "s"},
    {.key = "store.object.retry.max_attempts", .meaning = "Attempts of one operation, the first included.",
     .ref = MS_MEMBER(store.object.retry.max_attempts), .minimum = 1, .maximum = 100, .unit = "attempts"},
    {.key = "store.object.retry.base_backoff_ms", .meaning = "Wait before the second attempt; doubles with each further one.",
     .ref = MS_MEMBER(store.object.retry.base_backoff_ms), .minimum = 1, .maximum = 600'000, .unit = "ms"},
    {.key = "store.object.retry.max_backoff_ms", .meaning = "Longest wait between two attempts.",
     .ref = MS_MEMBER(store.object.retry.max_backoff_ms), .minimum = 1, .maximum = 600'000, .unit = "ms"},
    {.key = "store.object.retry.jitter_ratio", .meaning = "Share of the wait that is random.",
     .ref = MS_MEMBER(store.object.retry.jitter_ratio), .minimum = 0, .maximum = 1},

    {.key = "store.meta.backend", .meaning = "Catalogue: one `sqlite` file or a `postgres` server.",
     .ref = MS_CHOICE(store.meta.backend), .choices = kMetaBackends},
    {.key = "store.meta.path", .meaning = "`sqlite`: the file.",
     .ref = MS_MEMBER(store.meta.path), .form = TextForm::kRequired},
    {.key = "store.meta.dsn", .meaning = "`postgres`: connection URL or `key=value` text.",
     .ref = MS_MEMBER(store.meta.dsn), .form = TextForm::kSecret},
    {.key = "store.meta.max_connections", .meaning = "Connections to the catalogue.",
     .ref = MS_MEMBER(store.meta.max_connections), .minimum = 1, .maximum = 1024, .unit = "connections"},

    {.key = "compactor.interval_secs", .meaning = "Time between two rounds of retention, and between two looks for parts to merge.",
     .ref = MS_MEMBER(compactor.interval_secs), .minimum = 1, .maximum = kDaySecs, .unit = "s"},
    {.key = "compactor.retention_days", .meaning = "Age at which rows are deleted, where the stream has no setting of its own; 0 keeps them for ever.",
     .ref = MS_MEMBER(compactor.retention_days), .minimum = 0, .maximum = 36'500, .unit = "days", .reloads = true},

    {.key = "compactor.merge", .meaning = "Merge small parts into larger ones in the background.",
     .ref = MS_MEMBER(compactor.merge), .reloads = true},
    {.key = "compactor.target_mb", .meaning = "Size that merged parts grow to, their indexes included; none gets larger.",
     .ref = MS_MEMBER(compactor.target_mb), .minimum = 1, .maximum = 4096, .unit = "MiB"},
    {.key = "compactor.parts_min", .meaning = "So many small parts of a day that goes on are merged at once. Of a day that is over two are enough.",
     .ref = MS_MEMBER(compactor.parts_min), .minimum = 2, .maximum = 64, .unit = "parts"},
    {.key = "compactor.memory_mb", .meaning = "Memory for the rows of a merge; fewer parts are merged at once where it does not do.",
     .ref = MS_MEMBER(compactor.memory_mb), .minimum = 32, .maximum = 16'384, .unit = "MiB"},
    {.key = "compactor.pack_parts_min", .meaning = "So many parts of a stream that no pack of ids covers get one: a search for an id asks it instead of each part. 0: never.",
     .ref = MS_MEMBER(compactor.pack_parts_min), .minimum = 0, .maximum = 1024, .unit = "parts"},
    {.key = "compactor.cpu_percent", .meaning = "Share of one core that merging may take; its thread also gives way to all others.",
     .ref = MS_MEMBER(compactor.cpu_percent), .minimum = 1, .maximum = 100, .unit = "%", .reloads = true},
    {.key = "compactor.bytes_per_second", .meaning = "Rate at which merging reads and writes; 0: no limit.",
     .ref = MS_MEMBER(compactor.bytes_per_second), .minimum = 0, .maximum = 64 * kGiB, .unit = "bytes/s", .reloads = true},

    {.key = "storage.parquet_file_meta_dump.enabled", .meaning = "Move the catalogue's rows of old parts into objects, one for each day of a stream; queries see the same parts.",
     .ref = MS_MEMBER(storage.parquet_file_meta_dump.enabled), .reloads = true},
    {.key = "storage.parquet_file_meta_dump.cold_after_days", .meaning = "Age of a day, counted from its end, at which the rows of its parts are moved. Days that retention takes before, or within a day, stay in the catalogue.",
     .ref = MS_MEMBER(storage.parquet_file_meta_dump.cold_after_days), .minimum = 0, .maximum = 36'500, .unit = "days", .reloads = true},
    {.key = "storage.parquet_file_meta_dump.interval_secs", .meaning = "Time between two looks for such days.",
     .ref = MS_MEMBER(storage.parquet_file_meta_dump.interval_secs), .minimum = 1, .maximum = kDaySecs, .unit = "s"},
    {.key = "storage.parquet_file_meta_dump.max_partitions_per_tick", .meaning = "Most objects that one look writes; the next one goes on.",
     .ref = MS_MEMBER(storage.parquet_file_meta_dump.max_partitions_per_tick), .minimum = 1, .maximum = 1e6, .unit = "objects", .reloads = true},
    {.key = "storage.parquet_file_meta_dump.partition_level", .meaning = "Whether an object lists the parts of a day (`daily`) or of an hour (`hourly`), by their newest row. Objects of the other kind stay as they are.",
     .ref = MS_CHOICE(storage.parquet_file_meta_dump.partition_level), .choices = kPartitionLevels, .reloads = true},

    {.key = "scrub.bytes_per_second", .meaning = "Rate at which the objects of parts are read and compared with their hashes in the background; 0: never.",
     .ref = MS_MEMBER(scrub.bytes_per_second), .minimum = 0, .maximum = 64 * kGiB, .unit = "bytes/s", .reloads = true},
    {.key = "scrub.interval_hours", .meaning = "Least time between the begins of two rounds over all objects.",
     .ref = MS_MEMBER(scrub.interval_hours), .minimum = 1, .maximum = 87'600, .unit = "h", .reloads = true},

    {.key = "query.timeout_secs", .meaning = "Longest time of a query; a request may ask for less.",
     .ref = MS_MEMBER(query.timeout_secs), .minimum = 1, .maximum = kDaySecs, .unit = "s", .reloads = true},
    {.key = "query.memory_mb", .meaning = "Memory of one query, all of it counted; the sum of all stays within memory.limit_mb.",
     .ref = MS_MEMBER(query.memory_mb), .minimum = 16, .maximum = 1e6, .unit = "MiB"},
    {.key = "query.spill_mb", .meaning = "Disk space that one query may use below the data directory, query.concurrency times in all; 0: none.",
     .ref = MS_MEMBER(query.spill_mb), .minimum = 0, .maximum = 16e6, .unit = "MiB"},
    {.key = "query.rows_max", .meaning = "Rows of one answer.",
     .ref = MS_MEMBER(query.rows_max), .minimum = 1, .maximum = 1e9, .unit = "rows", .reloads = true},
    {.key = "query.bytes_max", .meaning = "Size of one answer before compression.",
     .ref = MS_MEMBER(query.bytes_max), .minimum = 1024, .maximum = 64 * kGiB, .unit = "bytes", .reloads = true},
    {.key = "query.concurrency", .meaning = "Queries that run at once; further ones wait.",
     .ref = MS_MEMBER(query.concurrency), .minimum = 1, .maximum = 1024, .unit = "queries"},
    {.key = "query.queue_requests_max", .meaning = "Queries that wait for others to end; beyond it, and after `query.timeout_secs` of waiting, 429 with Retry-After.",
     .ref = MS_MEMBER(query.queue_requests_max), .minimum = 0, .maximum = 1e6, .unit = "queries"},
    {.key = "query.threads", .meaning = "Threads of one query; 0: as many as the machine has cores.",
     .ref = MS_MEMBER(query.threads), .minimum = 0, .maximum = 1024, .unit = "threads"},

    {.key = "telemetry.log_level", .meaning = "Least severity of the server's own log.",
     .ref = MS_CHOICE(telemetry.log_level), .choices = kLogLevels, .reloads = true},
    {.key = "telemetry.log_format", .meaning = "Form of the server's own log (stderr).",
     .ref = MS_CHOICE(telemetry.log_format), .choices = kLogFormats, .reloads = true},
    {.key = "telemetry.access_log", .meaning = "A log line at `info` for every HTTP request; without it at `debug`.",
     .ref = MS_MEMBER(telemetry.access_log), .reloads = true},

    {.key = "memory.limit_mb", .meaning = "What buffers, request bodies and queries may take together; memory that the process has beyond their count takes of it too.",
     .ref = MS_MEMBER(memory.limit_mb), .minimum = 64, .maximum = 1e7, .unit = "MiB"},

    {.key = "cache.memory_mb", .meaning = "Footers of parts, blocks of their indexes and lists of old parts that are kept in memory; 0: none. Counts towards memory.limit_mb.",
     .ref = MS_MEMBER(cache.memory_mb), .minimum = 0, .maximum = 1e6, .unit = "MiB"},
    {.key = "cache.disk_cache.mode", .meaning = "Whether queries keep what they read of objects on the local disk: `remote`, if the object store is not a local directory; `always`; `never`.",
     .ref = MS_CHOICE(cache.disk_cache.mode), .choices = kDiskCacheModes},
    {.key = "cache.disk_cache.dir", .meaning = "Directory of the disk cache; of one server alone. What is in it may be removed while the server is stopped.",
     .ref = MS_MEMBER(cache.disk_cache.dir), .form = TextForm::kRequired},
    {.key = "cache.disk_cache.max_size_gb", .meaning = "Size of the disk cache, rounding of the file system included; 0: none. It gives way when less than 5 % of its file system (at most 5 GiB) is free.",
     .ref = MS_MEMBER(cache.disk_cache.max_size_gb), .minimum = 0, .maximum = 1e6, .unit = "GiB"},
};
// clang-format on

#undef MS_MEMBER
#undef MS_CHOICE

}  // namespace

std::span<const Setting> setting_table() {
    return kTable;
}

}  // namespace molesignal
