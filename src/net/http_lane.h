#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "common/mutex.h"
#include "net/http_server.h"

namespace molesignal {

/// Bounds how many requests of one kind are worked on at once. Further ones wait in the order in
/// which they came, without a thread, up to a bound. Thread-safe.
class HttpLane {
public:
    /// Called once, by any thread, when a request that waited has its place.
    using Granted = std::function<void()>;
    enum class Entry : std::uint8_t { kEntered = 0, kWaits = 1, kFull = 2 };

    explicit HttpLane(HttpLaneOptions options) : options_(std::move(options)) {}

    /// A place or a place in the queue, for as long as the object lives. Belongs to one thread.
    class Pass {
    public:
        Pass() = default;
        Pass(Pass&& other) noexcept
            : lane_(std::exchange(other.lane_, nullptr)), number_(other.number_) {}
        Pass& operator=(Pass&& other) noexcept;
        ~Pass() { leave(); }
        /// Gives the place to who waits longest, or ends the wait.
        void leave();

    private:
        friend class HttpLane;
        Pass(HttpLane& lane, std::uint64_t number) : lane_(&lane), number_(number) {}
        HttpLane* lane_ = nullptr;
        std::uint64_t number_ = 0;
    };

    /// Takes a place, or one in the queue (then `granted` is called, unless the pass is given up
    /// first). kFull: `pass` is empty.
    Entry enter(Pass& pass, Granted granted);

    const HttpLaneOptions& options() const { return options_; }
    HttpLaneStats stats() const;

private:
    void leave(std::uint64_t number);

    const HttpLaneOptions options_;
    mutable Mutex mutex_;
    std::uint64_t next_number_ MS_GUARDED_BY(mutex_) = 0;
    std::size_t running_ MS_GUARDED_BY(mutex_) = 0;
    std::map<std::uint64_t, Granted> waiting_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
