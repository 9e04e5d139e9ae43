#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "objectstore/object_store.h"

namespace molesignal {

class FileSystem;

/// Objects in memory, for tests. Thread-safe.
class MemoryObjectStore final : public ObjectStore {
public:
    /// `put_file` reads from `fs`, which outlives the store; without one it is kInvalidArgument.
    explicit MemoryObjectStore(FileSystem* fs = nullptr) : fs_(fs) {}

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
    std::string describe() const override { return "memory"; }

private:
    using Body = std::shared_ptr<const ByteBuffer>;

    FileSystem* fs_;
    Mutex mutex_;
    std::map<std::string, Body, std::less<>> objects_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
