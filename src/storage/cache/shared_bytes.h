#pragma once

#include <memory>

#include "common/bytes.h"

namespace molesignal {

/// Bytes and whoever keeps them alive. Immutable; copies share.
struct SharedBytes {
    std::shared_ptr<const ByteBuffer> owner;
    Bytes bytes;

    static SharedBytes of(ByteBuffer content) {
        auto owner = std::make_shared<const ByteBuffer>(std::move(content));
        const Bytes bytes(*owner);
        return {std::move(owner), bytes};
    }
    SharedBytes sub(std::size_t offset, std::size_t count) const {
        return {owner, bytes.subspan(offset, count)};
    }
};

}  // namespace molesignal
