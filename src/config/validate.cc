#include "config/validate.h"

#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "config/setting.h"

namespace molesignal {

namespace {

constexpr std::int64_t kMiB = 1 << 20;

/// Without credentials, nobody but this machine may reach the server.
void check_exposure(const Config& config, std::vector<std::string>& problems) {
    if (config.auth.mode != AuthMode::kNone) {
        return;
    }
    const std::array<std::pair<std::string_view, const std::string*>, 4> listeners{{
        {"http.listen", &config.http.listen},
        {"grpc.listen", &config.grpc.listen},
        {"otlp.grpc_listen", &config.otlp.grpc_listen},
        {"otlp.http_listen", &config.otlp.http_listen},
    }};
    for (const auto& [key, address] : listeners) {
        const auto parsed = parse_listen_address(*address);
        if (parsed.has_value() && !parsed->is_loopback) {
            problems.push_back(fmt::format(
                "{} = \"{}\" would let everybody on the network read and write, because "
                "auth.mode is none: set auth.mode = \"token\" (the first start prints a token), "
                "or listen on 127.0.0.1",
                key,
                *address));
        }
    }
}

struct Order {
    std::string_view low_key;
    std::int64_t low;
    std::string_view high_key;
    std::int64_t high;
};

void check_orders(const Config& config, std::vector<std::string>& problems) {
    const auto& http = config.http;
    const auto& ingester = config.ingester;
    const auto& retry = config.store.object.retry;
    const std::array<Order, 10> orders{{
        {"http.body_bytes_max",
         http.body_bytes_max,
         "http.inflight_body_bytes_max",
         http.inflight_body_bytes_max},
        {"http.inflight_body_bytes_max",
         http.inflight_body_bytes_max,
         "memory.limit_mb (in bytes)",
         config.memory.limit_mb * kMiB},
        {"ingester.row_bytes_max",
         ingester.row_bytes_max,
         "http.body_bytes_max",
         http.body_bytes_max},
        {"ingester.buffer_max_mb",
         ingester.buffer_max_mb,
         "ingester.max_buffer_memory_mb",
         ingester.max_buffer_memory_mb},
        {"ingester.max_buffer_memory_mb",
         ingester.max_buffer_memory_mb,
         "memory.limit_mb",
         config.memory.limit_mb},
        {"query.memory_mb", config.query.memory_mb, "memory.limit_mb", config.memory.limit_mb},
        {"cache.memory_mb", config.cache.memory_mb, "memory.limit_mb", config.memory.limit_mb},
        {"wal.segment_size_mb * 4",
         config.wal.segment_size_mb * 4,
         "wal.total_mb",
         config.wal.total_mb},
        {"wal.reserve_mb", config.wal.reserve_mb, "wal.total_mb", config.wal.total_mb},
        {"store.object.retry.base_backoff_ms",
         retry.base_backoff_ms,
         "store.object.retry.max_backoff_ms",
         retry.max_backoff_ms},
    }};
    for (const auto& order : orders) {
        if (order.low > order.high) {
            problems.push_back(fmt::format("{} = {} must not be larger than {} = {}",
                                           order.low_key,
                                           order.low,
                                           order.high_key,
                                           order.high));
        }
    }
}

void check_log(const Config& config, std::vector<std::string>& problems) {
    constexpr std::int64_t kSegmentsMax = 65'536;
    const auto& wal = config.wal;
    if (wal.total_mb / wal.segment_size_mb > kSegmentsMax) {
        problems.push_back(
            fmt::format("wal.total_mb = {} makes more than {} files of wal.segment_size_mb = {}: "
                        "set larger segments",
                        wal.total_mb,
                        kSegmentsMax,
                        wal.segment_size_mb));
    }
}

void check_stores(const Config& config, std::vector<std::string>& problems) {
    const auto& object = config.store.object;
    if (object.backend == ObjectBackend::kS3) {
        if (object.bucket.empty()) {
            problems.emplace_back(
                "store.object.bucket must be set for store.object.backend = \"s3\"");
        }
        if (object.access_key.empty() != object.secret_key.empty()) {
            problems.emplace_back(
                "store.object.access_key and store.object.secret_key must be set together");
        }
        if (!object.endpoint.empty() && !object.endpoint.starts_with("http://") &&
            !object.endpoint.starts_with("https://")) {
            problems.push_back(
                fmt::format("store.object.endpoint = '{}': must start with http:// or https://",
                            object.endpoint));
        }
    }
    if (config.store.meta.backend == MetaBackend::kPostgres && config.store.meta.dsn.empty()) {
        problems.emplace_back("store.meta.dsn must be set for store.meta.backend = \"postgres\"");
    }
}

}  // namespace

std::vector<std::string> config_conflicts(const Config& config) {
    std::vector<std::string> problems;
    check_exposure(config, problems);
    check_orders(config, problems);
    check_log(config, problems);
    check_stores(config, problems);
    return problems;
}

}  // namespace molesignal
