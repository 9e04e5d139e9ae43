#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/metrics.h"
#include "common/mutex.h"
#include "net/http_server.h"

namespace molesignal {

/// Counts what the HTTP server answers. Thread-safe; on an I/O thread an answer costs one look-up
/// in an immutable table.
class HttpMetrics {
public:
    /// `routes`: every label that an answer may have. `metrics` outlives the object.
    HttpMetrics(MetricRegistry& metrics, const std::vector<std::string>& routes);

    void count(const HttpAccessRecord& access);
    /// Sets the gauges of the server's state.
    void export_stats(const HttpServerStats& stats);

private:
    /// Class 0 is "incomplete": the client went away, or the answer broke off.
    static constexpr std::size_t kStatusClasses = 6;
    struct Series {
        std::string route;
        std::array<std::atomic<Counter*>, kStatusClasses> answers{};
        Histogram* seconds = nullptr;
    };
    Counter& answers(Series& series, std::size_t status_class);
    void count_total(const char* name, const char* help, std::uint64_t total);

    MetricRegistry& metrics_;
    std::unordered_map<std::string_view, std::unique_ptr<Series>> series_;
    Mutex mutex_;
    std::map<std::string, Counter*, std::less<>> refusals_ MS_GUARDED_BY(mutex_);
};

/// One request that a limit refused. `setting` is the limit's; `protocol` "http" or "grpc".
Counter& refusal_counter(MetricRegistry& metrics,
                         std::string_view protocol,
                         std::string_view setting);

}  // namespace molesignal
