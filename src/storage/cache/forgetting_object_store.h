#pragma once

#include <memory>
#include <string>

#include "objectstore/object_store.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

/// Another store, and a reader that forgets the objects which are removed or put. Reads go to the
/// store itself: who verifies objects must see them, not what is cached of them. Thread-safe.
class ForgettingObjectStore final : public ObjectStore {
public:
    /// `reader` reads from `base`.
    ForgettingObjectStore(std::unique_ptr<ObjectStore> base, std::shared_ptr<ObjectReader> reader)
        : base_(std::move(base)), reader_(std::move(reader)) {}

    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override {
        reader_->forget(key);
        return base_->put(context, key, body);
    }
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override {
        reader_->forget(key);
        return base_->put_file(context, key, path);
    }
    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override {
        return base_->get(context, key, offset, length);
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override {
        return base_->head(context, key);
    }
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override {
        return base_->list(context, prefix, visit);
    }
    Result<> remove(const RequestContext& context, std::string_view key) override {
        reader_->forget(key);
        return base_->remove(context, key);
    }
    std::string describe() const override { return base_->describe(); }

private:
    std::unique_ptr<ObjectStore> base_;
    std::shared_ptr<ObjectReader> reader_;
};

}  // namespace molesignal
