#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

struct ObjectMeta {
    std::string key;
    std::uint64_t size_bytes = 0;
    /// From `head`, of stores that know it: 32 hexadecimal digits that are the content's MD5, or
    /// look like it (see verify_object). Else empty.
    std::string md5_hex = {};
};

/// Keeps immutable objects under string keys. Implemented by memory, a local directory and S3.
///
/// Keys are relative paths of `[A-Za-z0-9_.=-]` segments joined by '/', made by us, never from
/// outside names; anything else is kInvalidArgument. All methods may be called from any thread and
/// stop at the context's deadline. A put is visible to every later get (read-after-write).
/// kUnavailable: may or may not have happened; putting again is safe.
class ObjectStore {
public:
    virtual ~ObjectStore() = default;

    /// Stores `body` under `key`, replacing what was there. Atomic: readers see the old object or
    /// the new. Returns only when durable.
    virtual Result<> put(const RequestContext& context, std::string_view key, Bytes body) = 0;

    /// Stores the local file `path` (read through the store's file system) under `key`, like put;
    /// the file is left in place. For bodies too large for memory.
    virtual Result<> put_file(const RequestContext& context,
                              std::string_view key,
                              const std::string& path) = 0;

    /// Bytes [offset, offset + length) of the object, cut at its end. kNotFound: no such object.
    /// kInvalidArgument: `offset` lies past the end.
    virtual Result<ByteBuffer> get(const RequestContext& context,
                                   std::string_view key,
                                   std::uint64_t offset,
                                   std::uint64_t length) = 0;

    /// Size of the object; nothing if there is none.
    virtual Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                                   std::string_view key) = 0;

    /// Calls `visit` for every object whose key starts with `prefix`, in key order, until it
    /// returns false.
    virtual Result<> list(const RequestContext& context,
                          std::string_view prefix,
                          const std::function<bool(const ObjectMeta&)>& visit) = 0;

    /// Removes the object; no error if there is none.
    virtual Result<> remove(const RequestContext& context, std::string_view key) = 0;

    /// Where objects are, for people: "local ./data/objects", "s3 bucket/prefix".
    virtual std::string describe() const = 0;
};

/// kInvalidArgument unless `key` has the shape that ObjectStore promises (at most 1,024 bytes).
Result<> check_object_key(std::string_view key);

}  // namespace molesignal
