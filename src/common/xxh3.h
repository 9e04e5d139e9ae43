#pragma once

#include <cstdint>
#include <memory>

#include "common/bytes.h"

namespace molesignal {

/// XXH3-64 of bytes that come piece by piece. Movable. One thread at a time.
class Xxh3 {
public:
    Xxh3();
    void update(Bytes bytes);
    /// Of all bytes so far.
    std::uint64_t digest() const;

private:
    struct FreeState {
        void operator()(void* state) const;
    };
    std::unique_ptr<void, FreeState> state_;  ///< XXH3_state_t
};

}  // namespace molesignal
