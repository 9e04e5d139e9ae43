#pragma once

#include <cstdint>
#include <string>

#include "common/request_context.h"
#include "common/result.h"
#include "common/xxh3.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// Reads one object piece by piece and compares it with what the catalogue has of it. One thread at
/// a time; `objects` outlives it.
class ObjectVerification {
public:
    ObjectVerification(ObjectStore& objects, PartObject object);

    /// Reads the next bytes, at most `bytes_max`, and returns how many. kCorruption: the object is
    /// missing, has another size or another content, as the message says. Other errors: the store
    /// did not answer; calling again goes on.
    Result<std::uint64_t> read_next(const RequestContext& context, std::uint64_t bytes_max);
    bool is_done() const { return is_done_; }

private:
    Error damaged(std::string_view what) const;

    ObjectStore& objects_;
    PartObject object_;
    Xxh3 hash_;
    std::uint64_t offset_ = 0;
    bool is_done_ = false;
};

}  // namespace molesignal
