#pragma once

#include <atomic>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "objectstore/memory_object_store.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

/// A store in memory that counts its reads and can hold them up.
class GatedStore final : public ObjectStore {
public:
    /// Reads wait from here on.
    void close() {
        const MutexLock lock(mutex_);
        is_open_ = false;
    }
    void open() {
        const MutexLock lock(mutex_);
        is_open_ = true;
        changed_.notify_all();
    }
    /// Returns once so many reads wait.
    void await_waiting(int count) {
        const MutexLock lock(mutex_);
        while (waiting_ < count) {
            changed_.wait(mutex_);
        }
    }
    /// The next reads fail.
    void fail(int count) { failures = count; }

    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override {
        ++gets;
        {
            const MutexLock lock(mutex_);
            ++waiting_;
            changed_.notify_all();
            while (!is_open_) {
                changed_.wait(mutex_);
            }
            --waiting_;
        }
        if (failures > 0) {
            --failures;
            return Error(ErrorCode::kUnavailable, "the store fails");
        }
        return objects.get(context, key, offset, length);
    }
    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override {
        return objects.put(context, key, body);
    }
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override {
        return objects.put_file(context, key, path);
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override {
        return objects.head(context, key);
    }
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override {
        return objects.list(context, prefix, visit);
    }
    Result<> remove(const RequestContext& context, std::string_view key) override {
        return objects.remove(context, key);
    }
    std::string describe() const override { return "gated"; }

    MemoryObjectStore objects;
    std::atomic<int> gets{0};
    std::atomic<int> failures{0};

private:
    Mutex mutex_;
    CondVar changed_;
    bool is_open_ MS_GUARDED_BY(mutex_) = true;
    int waiting_ MS_GUARDED_BY(mutex_) = 0;
};

/// Bytes by a seed.
inline ByteBuffer random_bytes(std::size_t count, std::uint64_t seed) {
    ByteBuffer bytes(count);
    SeededRandom(seed).fill(bytes);
    return bytes;
}

inline ObjectName object_named(std::string key, std::uint64_t bytes, std::uint64_t xxh3 = 1) {
    return {.key = std::move(key), .bytes = bytes, .xxh3 = xxh3};
}

/// The value of a metric's series, as it is exposed; -1 if there is none.
inline double metric_value(const MetricRegistry& metrics, const std::string& series) {
    const auto text = "\n" + metrics.expose();
    const auto at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
}

}  // namespace molesignal
