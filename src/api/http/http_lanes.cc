#include "api/http/http_lanes.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

std::size_t size(std::int64_t value) {
    return static_cast<std::size_t>(value);
}

}  // namespace

std::vector<HttpLaneOptions> http_lanes(const Config& config) {
    const auto share = [&](std::string name, std::int64_t part) {
        HttpLaneOptions lane;
        const auto running = std::max<std::int64_t>(1, config.http.handler_threads_max / part);
        lane.name = std::move(name);
        lane.running_max = size(running);
        lane.waiting_max = size(config.http.handler_queue_requests_max);
        lane.bounds = fmt::format(
            "{} are worked on at once by http.handler_threads_max, {} wait by "
            "http.handler_queue_requests_max",
            running,
            config.http.handler_queue_requests_max);
        return lane;
    };
    // Queries wait for a slot inside the engine, which gives the organisations turns. Each has a
    // thread while it waits; pulls of a running one have their own.
    HttpLaneOptions query;
    query.name = "queries";
    query.running_max = size(config.query.concurrency + config.query.queue_requests_max);
    query.waiting_max = 0;
    query.bounds = fmt::format("{} run by query.concurrency, {} wait by query.queue_requests_max",
                               config.query.concurrency,
                               config.query.queue_requests_max);
    query.setting = "query.queue_requests_max";
    // In the order of Lane.
    return {share("requests with rows", 1),
            share("requests that wait for a flush", 4),
            share("requests that flush", 8),
            std::move(query),
            share("administrative requests", 8),
            share("light requests", 16),
            share("sign-ins", 8)};
}

HttpServerOptions http_server_options(const Config& config) {
    HttpServerOptions options;
    options.listen = {config.http.listen, config.otlp.http_listen};
    options.lanes = http_lanes(config);
    options.io_threads = size(config.http.io_threads);
    options.connections_max = size(config.http.connections_max);
    options.url_bytes_max = size(config.http.url_bytes_max);
    options.header_bytes_max = size(config.http.header_bytes_max);
    options.body_bytes_max = size(config.http.body_bytes_max);
    options.inflight_body_bytes_max = config.http.inflight_body_bytes_max;
    options.header_timeout_ms = config.http.header_timeout_ms;
    options.body_idle_timeout_ms = config.http.body_idle_timeout_ms;
    options.body_bytes_per_second_min = config.http.body_bytes_per_second_min;
    options.body_timeout_ms = config.http.body_timeout_ms;
    options.keepalive_timeout_ms = config.http.keepalive_timeout_ms;
    options.write_timeout_ms = config.http.write_timeout_ms;
    options.write_bytes_per_second_min = config.http.write_bytes_per_second_min;
    options.retry_after_seconds = config.http.retry_after_seconds;
    options.compress_bytes_min = size(config.http.compress_bytes_min);
    return options;
}

}  // namespace molesignal
