#include "common/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "common/assert.h"
#include "common/mutex.h"

namespace molesignal {
namespace {

class PrometheusCounter final : public Counter {
public:
    explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
    void add(double amount) override { counter_.Increment(amount); }
    double value() const override { return counter_.Value(); }

private:
    prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
public:
    explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
    void set(double value) override { gauge_.Set(value); }
    void add(double amount) override { gauge_.Increment(amount); }
    double value() const override { return gauge_.Value(); }

private:
    prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
public:
    explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
    void observe(double value) override { histogram_.Observe(value); }

private:
    prometheus::Histogram& histogram_;
};

template <class Family, class Wrapper>
struct FamilyOf {
    Family* family = nullptr;
    std::map<MetricLabels, std::unique_ptr<Wrapper>> series;
};

}  // namespace

struct MetricRegistry::Implementation {
    prometheus::Registry registry;
    Mutex mutex;
    std::map<std::string,
             FamilyOf<prometheus::Family<prometheus::Counter>, PrometheusCounter>,
             std::less<>>
        counters MS_GUARDED_BY(mutex);
    std::map<std::string,
             FamilyOf<prometheus::Family<prometheus::Gauge>, PrometheusGauge>,
             std::less<>>
        gauges MS_GUARDED_BY(mutex);
    std::map<std::string,
             FamilyOf<prometheus::Family<prometheus::Histogram>, PrometheusHistogram>,
             std::less<>>
        histograms MS_GUARDED_BY(mutex);
};

MetricRegistry::MetricRegistry() : implementation_(std::make_unique<Implementation>()) {}
MetricRegistry::~MetricRegistry() = default;

Counter& MetricRegistry::counter(std::string_view name,
                                 std::string_view help,
                                 const MetricLabels& labels) {
    auto& all = *implementation_;
    const MutexLock lock(all.mutex);
    MS_ASSERT(!all.gauges.contains(name));
    MS_ASSERT(!all.histograms.contains(name));
    auto& entry = all.counters[std::string(name)];
    if (entry.family == nullptr) {
        entry.family = &prometheus::BuildCounter()
                            .Name(std::string(name))
                            .Help(std::string(help))
                            .Register(all.registry);
    }
    auto& series = entry.series[labels];
    if (series == nullptr) {
        series = std::make_unique<PrometheusCounter>(entry.family->Add(labels));
    }
    return *series;
}

Gauge& MetricRegistry::gauge(std::string_view name,
                             std::string_view help,
                             const MetricLabels& labels) {
    auto& all = *implementation_;
    const MutexLock lock(all.mutex);
    MS_ASSERT(!all.counters.contains(name));
    MS_ASSERT(!all.histograms.contains(name));
    auto& entry = all.gauges[std::string(name)];
    if (entry.family == nullptr) {
        entry.family = &prometheus::BuildGauge()
                            .Name(std::string(name))
                            .Help(std::string(help))
                            .Register(all.registry);
    }
    auto& series = entry.series[labels];
    if (series == nullptr) {
        series = std::make_unique<PrometheusGauge>(entry.family->Add(labels));
    }
    return *series;
}

Histogram& MetricRegistry::histogram(std::string_view name,
                                     std::string_view help,
                                     const std::vector<double>& buckets,
                                     const MetricLabels& labels) {
    auto& all = *implementation_;
    const MutexLock lock(all.mutex);
    MS_ASSERT(!all.counters.contains(name));
    MS_ASSERT(!all.gauges.contains(name));
    auto& entry = all.histograms[std::string(name)];
    if (entry.family == nullptr) {
        entry.family = &prometheus::BuildHistogram()
                            .Name(std::string(name))
                            .Help(std::string(help))
                            .Register(all.registry);
    }
    auto& series = entry.series[labels];
    if (series == nullptr) {
        series = std::make_unique<PrometheusHistogram>(entry.family->Add(labels, buckets));
    }
    return *series;
}

const std::vector<double>& MetricRegistry::latency_buckets() {
    static const std::vector<double> buckets = {
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
    return buckets;
}

std::string MetricRegistry::expose() const {
    return prometheus::TextSerializer().Serialize(implementation_->registry.Collect());
}

}  // namespace molesignal
