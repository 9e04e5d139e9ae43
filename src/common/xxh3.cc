#include "common/xxh3.h"

#include <xxhash.h>

namespace molesignal {

void Xxh3::FreeState::operator()(void* state) const {
    XXH3_freeState(static_cast<XXH3_state_t*>(state));
}

Xxh3::Xxh3() : state_(XXH3_createState()) {
    XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_.get()));
}

void Xxh3::update(Bytes bytes) {
    XXH3_64bits_update(static_cast<XXH3_state_t*>(state_.get()), bytes.data(), bytes.size());
}

std::uint64_t Xxh3::digest() const {
    return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_.get()));
}

}  // namespace molesignal
