#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/result.h"

namespace molesignal {

/// A node of the tree process → org → query or stream that limits memory.
///
/// Fed with allocated capacity, never with a guess. A reservation counts on the node and on all of
/// its ancestors, or on none. Thread-safe. Children keep their parent alive.
class MemoryBudget : public std::enable_shared_from_this<MemoryBudget> {
public:
    /// `setting` names the configuration key of the limit; it appears in errors.
    static std::shared_ptr<MemoryBudget> make_root(std::string name,
                                                   std::string setting,
                                                   std::int64_t bytes_max);
    std::shared_ptr<MemoryBudget> make_child(std::string name,
                                             std::string setting,
                                             std::int64_t bytes_max);

    /// Counts `bytes`, or fails with kResourceExhausted naming limit, value and setting.
    Result<> reserve(std::int64_t bytes);
    /// Counts `bytes` even above the limit: for memory that exists already.
    void force_reserve(std::int64_t bytes);
    /// Gives back what was reserved.
    void release(std::int64_t bytes);
    /// Memory that is there without a reservation (of libraries, or freed and kept by the
    /// allocator): reservations on this node leave room for it. Replaces what was set before.
    void set_uncounted(std::int64_t bytes);
    std::int64_t uncounted_bytes() const { return uncounted_.load(std::memory_order_relaxed); }

    std::int64_t used_bytes() const { return used_.load(std::memory_order_relaxed); }
    std::int64_t peak_bytes() const { return peak_.load(std::memory_order_relaxed); }
    std::int64_t limit_bytes() const { return bytes_max_; }
    const std::string& name() const { return name_; }

private:
    MemoryBudget(std::shared_ptr<MemoryBudget> parent,
                 std::string name,
                 std::string setting,
                 std::int64_t bytes_max);

    std::shared_ptr<MemoryBudget> parent_;
    std::string name_;
    std::string setting_;
    std::int64_t bytes_max_;
    std::atomic<std::int64_t> used_{0};
    std::atomic<std::int64_t> peak_{0};
    std::atomic<std::int64_t> uncounted_{0};
};

/// Bytes reserved on a budget, released on destruction. Movable. One thread at a time.
class MemoryReservation {
public:
    MemoryReservation() = default;
    explicit MemoryReservation(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}
    MemoryReservation(MemoryReservation&& other) noexcept
        : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
    MemoryReservation& operator=(MemoryReservation&& other) noexcept;
    ~MemoryReservation() { reset(); }

    /// Grows by `bytes`, or fails and leaves the reservation as it was.
    Result<> grow(std::int64_t bytes);
    /// Sets the size to `bytes`, or fails and leaves the reservation as it was.
    Result<> resize(std::int64_t bytes);
    /// Sets the size to `bytes`, above the limit too: for memory that exists already.
    void force_resize(std::int64_t bytes);
    void reset();
    std::int64_t bytes() const { return bytes_; }
    const std::shared_ptr<MemoryBudget>& budget() const { return budget_; }

private:
    std::shared_ptr<MemoryBudget> budget_;
    std::int64_t bytes_ = 0;
};

}  // namespace molesignal
