#include "objectstore/memory_object_store.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "io/file_system.h"

namespace molesignal {

Result<> MemoryObjectStore::put(const RequestContext& context, std::string_view key, Bytes body) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    auto content = std::make_shared<const ByteBuffer>(body.begin(), body.end());
    const MutexLock lock(mutex_);
    objects_.insert_or_assign(std::string(key), std::move(content));
    return {};
}

Result<> MemoryObjectStore::put_file(const RequestContext& context,
                                     std::string_view key,
                                     const std::string& path) {
    MS_TRY_VOID(check_object_key(key));
    if (fs_ == nullptr) {
        return Error(ErrorCode::kInvalidArgument, "this object store has no file system");
    }
    MS_TRY(const auto content, read_file(*fs_, path, std::numeric_limits<std::uint64_t>::max()));
    return put(context, key, content);
}

Result<ByteBuffer> MemoryObjectStore::get(const RequestContext& context,
                                          std::string_view key,
                                          std::uint64_t offset,
                                          std::uint64_t length) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    Body body;
    {
        const MutexLock lock(mutex_);
        const auto found = objects_.find(key);
        if (found == objects_.end()) {
            return Error(ErrorCode::kNotFound, fmt::format("no object {}", key));
        }
        body = found->second;
    }
    if (offset > body->size()) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format("object {} has {} bytes, wanted from {}", key, body->size(), offset));
    }
    const auto part = Bytes(*body).subspan(offset, std::min(length, body->size() - offset));
    return ByteBuffer(part.begin(), part.end());
}

Result<std::optional<ObjectMeta>> MemoryObjectStore::head(const RequestContext& context,
                                                          std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    const MutexLock lock(mutex_);
    const auto found = objects_.find(key);
    if (found == objects_.end()) {
        return std::optional<ObjectMeta>();
    }
    return std::optional(ObjectMeta{.key = found->first, .size_bytes = found->second->size()});
}

Result<> MemoryObjectStore::list(const RequestContext& context,
                                 std::string_view prefix,
                                 const std::function<bool(const ObjectMeta&)>& visit) {
    std::vector<ObjectMeta> found;
    {
        const MutexLock lock(mutex_);
        for (auto at = objects_.lower_bound(prefix);
             at != objects_.end() && at->first.starts_with(prefix);
             ++at) {
            found.push_back({.key = at->first, .size_bytes = at->second->size()});
        }
    }
    // Outside the lock: `visit` may call the store.
    for (const auto& object : found) {
        MS_TRY_VOID(context.check());
        if (!visit(object)) {
            break;
        }
    }
    return {};
}

Result<> MemoryObjectStore::remove(const RequestContext& context, std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    const MutexLock lock(mutex_);
    if (const auto found = objects_.find(key); found != objects_.end()) {
        objects_.erase(found);
    }
    return {};
}

}  // namespace molesignal
