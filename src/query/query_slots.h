#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

/// Which queries may run now. Others wait, a bounded number of them, and a free slot goes to the
/// organisation that has the fewest running queries, among those to the one that was served longest
/// ago, and inside it to the query that waits longest. Thread-safe.
class QuerySlots {
public:
    struct Options {
        std::size_t running_max = 4;
        std::size_t waiting_max = 256;     ///< Of all organisations.
        std::size_t waiting_org_max = 32;  ///< Of one organisation.
    };

    /// The right to run; given back by the destructor. Movable.
    class Slot {
    public:
        Slot() = default;
        Slot(QuerySlots& slots, std::string org) : slots_(&slots), org_(std::move(org)) {}
        Slot(Slot&& other) noexcept
            : slots_(std::exchange(other.slots_, nullptr)), org_(std::move(other.org_)) {}
        Slot& operator=(Slot&& other) noexcept {
            std::swap(slots_, other.slots_);
            std::swap(org_, other.org_);
            return *this;
        }
        ~Slot() { reset(); }
        void reset() {
            if (auto* slots = std::exchange(slots_, nullptr); slots != nullptr) {
                slots->give_back(org_);
            }
        }

    private:
        QuerySlots* slots_ = nullptr;
        std::string org_;
    };

    /// `clock` outlives the object.
    QuerySlots(const Options& options, Clock& clock) : options_(options), clock_(clock) {}

    /// Waits for a slot until the context's deadline. kResourceExhausted: too many wait already, or
    /// none became free in time; kCancelled.
    Result<Slot> take(const RequestContext& context, const std::string& org);

    std::size_t running() const;
    std::size_t waiting() const;

private:
    struct Waiter {
        bool granted = false;
    };
    struct Org {
        std::size_t running = 0;
        std::uint64_t served = 0;  ///< When a slot was last given to it, as a count of slots given.
        std::deque<Waiter*> waiting;
    };

    void give_back(const std::string& org);
    /// Gives free slots to those who wait.
    void grant() MS_REQUIRES(mutex_);
    void forget(const std::string& org) MS_REQUIRES(mutex_);

    const Options options_;
    Clock& clock_;
    mutable Mutex mutex_;
    CondVar granted_;
    std::map<std::string, Org> orgs_ MS_GUARDED_BY(mutex_);  ///< That run or wait.
    std::size_t running_ MS_GUARDED_BY(mutex_) = 0;
    std::size_t waiting_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t given_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
