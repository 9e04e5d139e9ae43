#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace molesignal {

/// Label names and values of one time series of ours. Values come from closed sets only (route,
/// protocol, reason), never from outside text.
using MetricLabels = std::map<std::string, std::string>;

/// Only goes up. Thread-safe.
class Counter {
public:
    virtual ~Counter() = default;
    virtual void add(double amount = 1) = 0;
    virtual double value() const = 0;
};

/// Goes up and down. Thread-safe.
class Gauge {
public:
    virtual ~Gauge() = default;
    virtual void set(double value) = 0;
    virtual void add(double amount) = 0;
    virtual double value() const = 0;
};

/// Counts observations in fixed buckets. Thread-safe.
class Histogram {
public:
    virtual ~Histogram() = default;
    virtual void observe(double value) = 0;
};

/// The process's own metrics in Prometheus' text form (`GET /metrics`).
///
/// Asking twice for one name and labels gives the same instance, which lives as long as the
/// registry; keep the reference instead of asking on a hot path. Thread-safe. A name is used with
/// one kind and one help text only (asserted).
class MetricRegistry {
public:
    MetricRegistry();
    ~MetricRegistry();
    MetricRegistry(const MetricRegistry&) = delete;
    MetricRegistry& operator=(const MetricRegistry&) = delete;

    Counter& counter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
    Gauge& gauge(std::string_view name, std::string_view help, const MetricLabels& labels = {});
    /// `buckets` are upper bounds, ascending, in the unit that the name ends with.
    Histogram& histogram(std::string_view name,
                         std::string_view help,
                         const std::vector<double>& buckets,
                         const MetricLabels& labels = {});
    /// Bounds for latencies, in seconds, 0.5 ms to 60 s.
    static const std::vector<double>& latency_buckets();

    /// The text exposition format, version 0.0.4.
    std::string expose() const;

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace molesignal
