#include "common/memory_budget.h"

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

MemoryBudget::MemoryBudget(std::shared_ptr<MemoryBudget> parent,
                           std::string name,
                           std::string setting,
                           std::int64_t bytes_max)
    : parent_(std::move(parent)),
      name_(std::move(name)),
      setting_(std::move(setting)),
      bytes_max_(bytes_max) {}

std::shared_ptr<MemoryBudget> MemoryBudget::make_root(std::string name,
                                                      std::string setting,
                                                      std::int64_t bytes_max) {
    return std::shared_ptr<MemoryBudget>(
        new MemoryBudget(nullptr, std::move(name), std::move(setting), bytes_max));
}

std::shared_ptr<MemoryBudget> MemoryBudget::make_child(std::string name,
                                                       std::string setting,
                                                       std::int64_t bytes_max) {
    return std::shared_ptr<MemoryBudget>(
        new MemoryBudget(shared_from_this(), std::move(name), std::move(setting), bytes_max));
}

Result<> MemoryBudget::reserve(std::int64_t bytes) {
    MS_ASSERT(bytes >= 0);
    if (parent_ != nullptr) {
        MS_TRY_VOID(parent_->reserve(bytes));
    }
    const auto now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    const auto uncounted = uncounted_.load(std::memory_order_relaxed);
    if (now > bytes_max_ - uncounted) {
        used_.fetch_sub(bytes, std::memory_order_relaxed);
        if (parent_ != nullptr) {
            parent_->release(bytes);
        }
        return Error(
            ErrorCode::kResourceExhausted,
            fmt::format(
                "memory of {}: {} bytes in use{} and {} more wanted exceed the limit of {} ({})",
                name_,
                now - bytes,
                uncounted > 0 ? fmt::format(", {} beside them", uncounted) : "",
                bytes,
                bytes_max_,
                setting_));
    }
    auto peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
    return {};
}

void MemoryBudget::force_reserve(std::int64_t bytes) {
    MS_ASSERT(bytes >= 0);
    const auto now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    auto peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
    if (parent_ != nullptr) {
        parent_->force_reserve(bytes);
    }
}

void MemoryBudget::release(std::int64_t bytes) {
    const auto before = used_.fetch_sub(bytes, std::memory_order_relaxed);
    MS_ASSERT(before >= bytes);
    if (parent_ != nullptr) {
        parent_->release(bytes);
    }
}

void MemoryBudget::set_uncounted(std::int64_t bytes) {
    MS_ASSERT(bytes >= 0);
    uncounted_.store(bytes, std::memory_order_relaxed);
}

MemoryReservation& MemoryReservation::operator=(MemoryReservation&& other) noexcept {
    if (this != &other) {
        reset();
        budget_ = std::move(other.budget_);
        bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
}

Result<> MemoryReservation::grow(std::int64_t bytes) {
    if (budget_ != nullptr) {
        MS_TRY_VOID(budget_->reserve(bytes));
    }
    bytes_ += bytes;
    return {};
}

Result<> MemoryReservation::resize(std::int64_t bytes) {
    if (bytes > bytes_) {
        return grow(bytes - bytes_);
    }
    force_resize(bytes);
    return {};
}

void MemoryReservation::force_resize(std::int64_t bytes) {
    if (budget_ != nullptr) {
        if (bytes > bytes_) {
            budget_->force_reserve(bytes - bytes_);
        } else {
            budget_->release(bytes_ - bytes);
        }
    }
    bytes_ = bytes;
}

void MemoryReservation::reset() {
    if (budget_ != nullptr && bytes_ > 0) {
        budget_->release(bytes_);
    }
    bytes_ = 0;
}

}  // namespace molesignal
