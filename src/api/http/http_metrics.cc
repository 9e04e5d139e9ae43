#include "api/http/http_metrics.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

/// The label of answers that no route made.
constexpr std::string_view kEngine = "engine";

}  // namespace

Counter& refusal_counter(MetricRegistry& metrics,
                         std::string_view protocol,
                         std::string_view setting) {
    return metrics.counter("requests_refused_total",
                           "Requests that a limit refused, by protocol and the limit's setting",
                           {{"protocol", std::string(protocol)}, {"limit", std::string(setting)}});
}

HttpMetrics::HttpMetrics(MetricRegistry& metrics, const std::vector<std::string>& routes)
    : metrics_(metrics) {
    auto labels = routes;
    labels.emplace_back(kEngine);
    for (const auto& route : labels) {
        auto series = std::make_unique<Series>();
        series->route = route;
        series->seconds = &metrics_.histogram(
            "http_request_duration_seconds",
            "Time from a request's complete head to the last byte of its answer",
            MetricRegistry::latency_buckets(),
            {{"route", route}});
        const std::string_view key = series->route;
        series_.emplace(key, std::move(series));
    }
}

Counter& HttpMetrics::answers(Series& series, std::size_t status_class) {
    auto& slot = series.answers[status_class];
    auto* counter = slot.load(std::memory_order_acquire);
    if (counter == nullptr) {
        // Made at the first answer, so that the page has no series that never happened.
        counter = &metrics_.counter(
            "http_requests_total",
            "Answered HTTP requests, by route and status class",
            {{"route", series.route},
             {"status", status_class == 0 ? "incomplete" : fmt::format("{}xx", status_class)}});
        slot.store(counter, std::memory_order_release);
    }
    return *counter;
}

void HttpMetrics::count(const HttpAccessRecord& access) {
    auto found = series_.find(access.route);
    if (found == series_.end()) {
        found = series_.find(kEngine);
    }
    const auto status = static_cast<std::size_t>(access.status / 100);
    answers(*found->second, access.complete ? std::min(status, kStatusClasses - 1) : 0).add();
    found->second->seconds->observe(static_cast<double>(access.duration.count()) * 1e-9);
    if (access.limit.empty()) {
        return;
    }
    const MutexLock lock(mutex_);
    auto refused = refusals_.find(access.limit);
    if (refused == refusals_.end()) {
        refused = refusals_
                      .emplace(std::string(access.limit),
                               &refusal_counter(metrics_, "http", access.limit))
                      .first;
    }
    refused->second->add();
}

void HttpMetrics::count_total(const char* name, const char* help, std::uint64_t total) {
    auto& counter = metrics_.counter(name, help);
    counter.add(static_cast<double>(total) - counter.value());
}

void HttpMetrics::export_stats(const HttpServerStats& stats) {
    const auto set = [&](const char* name, const char* help, auto value) {
        metrics_.gauge(name, help).set(static_cast<double>(value));
    };
    set("http_connections_open", "Open connections", stats.connections_open);
    set("http_connections_idle", "Connections that wait for a request", stats.connections_idle);
    set("http_requests_running", "Requests whose answer is not complete", stats.requests_running);
    set("http_request_body_bytes",
        "Memory of the bodies of running requests, of every protocol",
        stats.inflight_body_bytes);
    count_total("http_connections_total", "Connections taken", stats.connections_total);
    count_total("http_connections_refused_total",
                "Connections refused at http.connections_max",
                stats.connections_refused);
    count_total("http_connections_evicted_total",
                "Idle connections closed to make room at http.connections_max",
                stats.connections_evicted);
    for (const auto& lane : stats.lanes) {
        const MetricLabels labels = {{"lane", lane.name}};
        metrics_.gauge("http_lane_running", "Requests that are worked on, by kind", labels)
            .set(static_cast<double>(lane.running));
        metrics_.gauge("http_lane_waiting", "Requests that wait for others, by kind", labels)
            .set(static_cast<double>(lane.waiting));
    }
}

}  // namespace molesignal
