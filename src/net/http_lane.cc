#include "net/http_lane.h"

namespace molesignal {

HttpLane::Pass& HttpLane::Pass::operator=(Pass&& other) noexcept {
    if (this != &other) {
        leave();
        lane_ = std::exchange(other.lane_, nullptr);
        number_ = other.number_;
    }
    return *this;
}

void HttpLane::Pass::leave() {
    if (auto* lane = std::exchange(lane_, nullptr); lane != nullptr) {
        lane->leave(number_);
    }
}

HttpLane::Entry HttpLane::enter(Pass& pass, Granted granted) {
    pass.leave();
    const MutexLock lock(mutex_);
    const bool free = running_ < options_.running_max;
    if (!free && waiting_.size() >= options_.waiting_max) {
        return Entry::kFull;
    }
    pass = Pass(*this, next_number_++);
    if (free) {
        ++running_;
        return Entry::kEntered;
    }
    waiting_.emplace(pass.number_, std::move(granted));
    return Entry::kWaits;
}

void HttpLane::leave(std::uint64_t number) {
    Granted granted;
    {
        const MutexLock lock(mutex_);
        if (waiting_.erase(number) > 0) {
            return;
        }
        if (waiting_.empty()) {
            --running_;
            return;
        }
        // The place goes over to who waits longest; the number of running ones stays.
        granted = std::move(waiting_.begin()->second);
        waiting_.erase(waiting_.begin());
    }
    granted();
}

HttpLaneStats HttpLane::stats() const {
    const MutexLock lock(mutex_);
    return {.name = options_.name, .running = running_, .waiting = waiting_.size()};
}

}  // namespace molesignal
