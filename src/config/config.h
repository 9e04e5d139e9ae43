#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace molesignal {

/// Every setting of the server, with its default. The members' names are the settings' names:
/// `config.http.body_bytes_max` is `http.body_bytes_max`. What each means, its range and its unit
/// are in setting_table() (config/setting.h) and on the generated page docs/config.md.
///
/// Plain values, freely copied. A Config made by load_config is valid.
struct NodeConfig {
    std::string data_dir = "./data";  ///< Roots all relative paths: use resolve_path.
    std::int64_t drain_timeout_secs = 30;
};

struct HttpConfig {
    std::string listen = "127.0.0.1:5080";
    std::int64_t io_threads = 2;
    std::int64_t handler_threads_max = 64;
    std::int64_t handler_queue_requests_max = 1024;
    std::int64_t connections_max = 10'000;
    std::int64_t url_bytes_max = 16 << 10;
    std::int64_t header_bytes_max = 16 << 10;
    std::int64_t body_bytes_max = 32 << 20;  ///< Every protocol, after decompression.
    std::int64_t inflight_body_bytes_max = 128 << 20;
    std::int64_t header_timeout_ms = 10'000;
    std::int64_t body_idle_timeout_ms = 30'000;
    std::int64_t body_bytes_per_second_min = 1024;
    std::int64_t body_timeout_ms = 300'000;
    std::int64_t keepalive_timeout_ms = 75'000;
    std::int64_t write_timeout_ms = 30'000;
    std::int64_t write_bytes_per_second_min = 1024;
    std::int64_t retry_after_seconds = 1;
    std::int64_t compress_bytes_min = 1024;
};

struct GrpcConfig {
    std::string listen = "127.0.0.1:5082";
    std::int64_t threads_max = 32;
    std::int64_t queue_requests_max = 1024;
};

struct OtlpConfig {
    std::string grpc_listen = "127.0.0.1:4317";
    std::string http_listen = "127.0.0.1:4318";
};

enum class AuthMode : std::uint8_t { kNone = 1, kToken = 2 };
struct AuthConfig {
    AuthMode mode = AuthMode::kNone;
    std::int64_t unknown_tokens_per_second_max = 50;
};

enum class FlushStrategy : std::uint8_t { kBatch = 1, kEveryWrite = 2, kNone = 3 };
enum class SyncLevel : std::uint8_t { kData = 1, kNone = 2 };
struct WalConfig {
    std::string dir = "wal";
    std::int64_t segment_size_mb = 64;
    std::int64_t total_mb = 4096;
    std::int64_t reserve_mb = 64;
    FlushStrategy flush_strategy = FlushStrategy::kBatch;
    SyncLevel sync_level = SyncLevel::kData;
};

struct IngesterConfig {
    std::int64_t buffer_max_mb = 64;          ///< One shard's memtable; a larger one is flushed.
    std::int64_t max_buffer_memory_mb = 192;  ///< All memtables together.
    std::optional<std::int64_t> flush_interval_secs;  ///< Unset: 30 to 300 s, by the amount.
    std::int64_t flush_parallelism = 1;
    std::int64_t shard_idle_secs = 900;
    std::int64_t persist_timeout_ms = 6'000;
    std::int64_t streams_max = 10'000;
    std::int64_t decode_memory_mb = 256;
    std::int64_t rows_per_request_max = 1'000'000;
    std::int64_t row_bytes_max = 2 << 20;
    std::int64_t fields_per_stream_max = 1'000;
    std::int64_t field_name_bytes_max = 256;
    std::int64_t nesting_depth_max = 16;
    std::int64_t future_max_secs = 86'400;
    std::optional<std::int64_t> past_max_secs;  ///< Unset: the stream's retention.
    std::int64_t row_group_rows = 32'768;
    std::int64_t zstd_level = 1;
    bool index = true;
};

enum class ObjectBackend : std::uint8_t { kLocal = 1, kS3 = 2 };
struct ObjectRetryConfig {
    std::int64_t max_attempts = 4;
    std::int64_t base_backoff_ms = 100;
    std::int64_t max_backoff_ms = 5'000;
    double jitter_ratio = 0.2;
};
struct ObjectStoreConfig {
    ObjectBackend backend = ObjectBackend::kLocal;
    std::string root = "objects";  ///< local
    std::string endpoint;          ///< s3 and below: "http://host:port"; empty: AWS by region.
    std::string region = "us-east-1";
    std::string bucket;
    std::string prefix;
    std::string access_key;
    std::string secret_key;
    bool path_style = true;
    std::int64_t op_timeout_secs = 30;
    std::int64_t max_concurrency = 8;
    std::int64_t health_probe_interval_secs = 30;
    ObjectRetryConfig retry;
};

enum class MetaBackend : std::uint8_t { kSqlite = 1, kPostgres = 2 };
struct MetaStoreConfig {
    MetaBackend backend = MetaBackend::kSqlite;
    std::string path = "meta.db";  ///< sqlite
    std::string dsn;               ///< postgres: a URL or key=value text, may hold a password.
    std::int64_t max_connections = 16;
};

struct StoreConfig {
    ObjectStoreConfig object;
    MetaStoreConfig meta;
};

struct CompactorConfig {
    std::int64_t interval_secs = 300;
    std::int64_t retention_days = 30;
    bool merge = true;
    std::int64_t target_mb = 512;
    std::int64_t parts_min = 8;
    std::int64_t memory_mb = 256;
    std::int64_t pack_parts_min = 16;
    std::int64_t cpu_percent = 50;
    std::int64_t bytes_per_second = 64 << 20;
};

enum class PartitionLevel : std::uint8_t { kDaily = 1, kHourly = 2 };
struct PartDumpConfig {
    bool enabled = true;
    std::int64_t cold_after_days = 30;
    std::int64_t interval_secs = 3'600;
    std::int64_t max_partitions_per_tick = 100;
    PartitionLevel partition_level = PartitionLevel::kDaily;
};
struct StorageConfig {
    PartDumpConfig parquet_file_meta_dump;
};

struct ScrubConfig {
    std::int64_t bytes_per_second = 1 << 20;
    std::int64_t interval_hours = 168;
};

struct QueryConfig {
    std::int64_t timeout_secs = 60;
    std::int64_t memory_mb = 256;
    std::int64_t spill_mb = 2'048;
    std::int64_t rows_max = 1'000'000;
    std::int64_t bytes_max = 256 << 20;
    std::int64_t concurrency = 4;
    std::int64_t queue_requests_max = 64;
    std::int64_t threads = 0;  ///< 0: as many as the machine has cores.
};

enum class TelemetryLogLevel : std::uint8_t { kDebug = 1, kInfo = 2, kWarn = 3, kError = 4 };
enum class TelemetryLogFormat : std::uint8_t { kText = 1, kJson = 2 };
struct TelemetryConfig {
    TelemetryLogLevel log_level = TelemetryLogLevel::kInfo;
    TelemetryLogFormat log_format = TelemetryLogFormat::kText;
    bool access_log = false;
};

enum class DiskCacheMode : std::uint8_t { kRemote = 1, kAlways = 2, kNever = 3 };
struct DiskCacheConfig {
    DiskCacheMode mode = DiskCacheMode::kRemote;
    std::string dir = "cache";
    double max_size_gb = 10;
};
struct CacheConfig {
    std::int64_t memory_mb = 64;
    DiskCacheConfig disk_cache;
};

struct MemoryConfig {
    std::int64_t limit_mb = 1'024;  ///< The root budget: buffers, request bodies, queries.
};

struct Config {
    NodeConfig node;
    HttpConfig http;
    GrpcConfig grpc;
    OtlpConfig otlp;
    AuthConfig auth;
    WalConfig wal;
    IngesterConfig ingester;
    StoreConfig store;
    CompactorConfig compactor;
    QueryConfig query;
    TelemetryConfig telemetry;
    MemoryConfig memory;
    ScrubConfig scrub;
    StorageConfig storage;
    CacheConfig cache;
};

/// `path` as the server uses it: below node.data_dir unless it is absolute.
std::string resolve_path(const Config& config, const std::string& path);

}  // namespace molesignal
