#include "objectstore/metered_object_store.h"

namespace molesignal {
namespace {

/// A closed set of reasons, for the label.
std::string_view reason_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::kNotFound:
            return "not_found";
        case ErrorCode::kForbidden:
        case ErrorCode::kUnauthenticated:
            return "forbidden";
        case ErrorCode::kTimeout:
            return "timeout";
        case ErrorCode::kResourceExhausted:
            return "no_space";
        case ErrorCode::kUnavailable:
            return "unavailable";
        default:
            return "other";
    }
}

}  // namespace

MeteredObjectStore::MeteredObjectStore(std::unique_ptr<ObjectStore> base,
                                       std::string backend,
                                       Clock& clock,
                                       MetricRegistry& metrics)
    : base_(std::move(base)),
      backend_(std::move(backend)),
      clock_(clock),
      metrics_(metrics),
      put_(operation("put")),
      get_(operation("get")),
      head_(operation("head")),
      list_(operation("list")),
      remove_(operation("delete")) {}

MeteredObjectStore::Operation MeteredObjectStore::operation(const std::string& name) {
    const MetricLabels labels = {{"backend", backend_}, {"op", name}};
    return {.count = &metrics_.counter(
                "object_store_operations_total", "Operations on the object store", labels),
            .bytes = &metrics_.counter("object_store_bytes_total", "Bytes put and got", labels),
            .seconds = &metrics_.histogram("object_store_op_duration_seconds",
                                           "Time of an operation, retries included",
                                           MetricRegistry::latency_buckets(),
                                           labels),
            .name = name};
}

template <class Value>
Result<Value> MeteredObjectStore::finish(Operation& operation,
                                         SteadyNanos started,
                                         std::uint64_t bytes,
                                         Result<Value> result) {
    operation.count->add();
    operation.seconds->observe(static_cast<double>(clock_.steady_now().value - started.value) *
                               1e-9);
    if (result) {
        operation.bytes->add(static_cast<double>(bytes));
    } else {
        metrics_
            .counter("object_store_errors_total",
                     "Operations that failed, by reason",
                     {{"backend", backend_},
                      {"op", operation.name},
                      {"reason", std::string(reason_of(result.error().code()))}})
            .add();
    }
    return result;
}

Result<> MeteredObjectStore::put(const RequestContext& context, std::string_view key, Bytes body) {
    const auto started = clock_.steady_now();
    return finish(put_, started, body.size(), base_->put(context, key, body));
}

Result<> MeteredObjectStore::put_file(const RequestContext& context,
                                      std::string_view key,
                                      const std::string& path) {
    const auto started = clock_.steady_now();
    auto stored = base_->put_file(context, key, path);
    return finish(put_, started, 0, std::move(stored));
}

Result<ByteBuffer> MeteredObjectStore::get(const RequestContext& context,
                                           std::string_view key,
                                           std::uint64_t offset,
                                           std::uint64_t length) {
    const auto started = clock_.steady_now();
    auto content = base_->get(context, key, offset, length);
    const auto bytes = content ? content->size() : 0;
    return finish(get_, started, bytes, std::move(content));
}

Result<std::optional<ObjectMeta>> MeteredObjectStore::head(const RequestContext& context,
                                                           std::string_view key) {
    const auto started = clock_.steady_now();
    return finish(head_, started, 0, base_->head(context, key));
}

Result<> MeteredObjectStore::list(const RequestContext& context,
                                  std::string_view prefix,
                                  const std::function<bool(const ObjectMeta&)>& visit) {
    const auto started = clock_.steady_now();
    return finish(list_, started, 0, base_->list(context, prefix, visit));
}

Result<> MeteredObjectStore::remove(const RequestContext& context, std::string_view key) {
    const auto started = clock_.steady_now();
    return finish(remove_, started, 0, base_->remove(context, key));
}

}  // namespace molesignal
