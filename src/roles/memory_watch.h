#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "common/clock.h"
#include "common/memory_budget.h"

namespace molesignal {

/// Compares the memory that the process has with what its budget counts. What is there beyond the
/// count takes room in the budget: requests are refused, for later, before the kernel ends the
/// process. At most half of the limit, so that something still goes through whatever the reason.
/// When three quarters of the limit are in use, what the allocator keeps is given back first.
class MemoryWatch {
public:
    static constexpr std::chrono::milliseconds kInterval{25};

    /// `resident` and `give_back` are those of io/process_memory.h, or a test's.
    MemoryWatch(std::shared_ptr<MemoryBudget> budget,
                Clock& clock,
                std::function<std::uint64_t()> resident,
                std::function<void()> give_back);
    /// Looks once; to be called every kInterval, by one thread at a time.
    void look();

private:
    std::int64_t uncounted() const;

    std::shared_ptr<MemoryBudget> budget_;
    Clock& clock_;
    std::function<std::uint64_t()> resident_;
    std::function<void()> give_back_;
    SteadyNanos give_back_next_{};
};

}  // namespace molesignal
