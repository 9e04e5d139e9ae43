#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/metrics.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// Counts operations, bytes, errors and times of another store. Thread-safe.
class MeteredObjectStore final : public ObjectStore {
public:
    /// `backend` labels the metrics: "local", "s3". `clock` and `metrics` outlive the store.
    MeteredObjectStore(std::unique_ptr<ObjectStore> base,
                       std::string backend,
                       Clock& clock,
                       MetricRegistry& metrics);

    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override;
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override;
    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override;
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override;
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override;
    Result<> remove(const RequestContext& context, std::string_view key) override;
    std::string describe() const override { return base_->describe(); }

private:
    struct Operation {
        Counter* count;
        Counter* bytes;
        Histogram* seconds;
        std::string name;
    };
    Operation operation(const std::string& name);
    template <class Value>
    Result<Value> finish(Operation& operation,
                         SteadyNanos started,
                         std::uint64_t bytes,
                         Result<Value> result);

    std::unique_ptr<ObjectStore> base_;
    std::string backend_;
    Clock& clock_;
    MetricRegistry& metrics_;
    Operation put_;
    Operation get_;
    Operation head_;
    Operation list_;
    Operation remove_;
};

}  // namespace molesignal
