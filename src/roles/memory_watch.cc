#include "roles/memory_watch.h"

#include <algorithm>
#include <utility>

namespace molesignal {
namespace {

constexpr std::int64_t kMostDivisor = 2;
/// Giving back costs page faults afterwards.
constexpr std::chrono::milliseconds kGiveBackInterval{100};

}  // namespace

MemoryWatch::MemoryWatch(std::shared_ptr<MemoryBudget> budget,
                         Clock& clock,
                         std::function<std::uint64_t()> resident,
                         std::function<void()> give_back)
    : budget_(std::move(budget)),
      clock_(clock),
      resident_(std::move(resident)),
      give_back_(std::move(give_back)) {}

std::int64_t MemoryWatch::uncounted() const {
    const auto beyond = static_cast<std::int64_t>(resident_()) - budget_->used_bytes();
    return std::clamp<std::int64_t>(beyond, 0, budget_->limit_bytes() / kMostDivisor);
}

void MemoryWatch::look() {
    auto beyond = uncounted();
    const auto tight = budget_->limit_bytes() / 4 * 3;
    if (beyond > 0 && budget_->used_bytes() + beyond > tight &&
        clock_.steady_now() >= give_back_next_) {
        give_back_();
        beyond = uncounted();
        give_back_next_ = clock_.steady_now() + kGiveBackInterval;
    }
    budget_->set_uncounted(beyond);
}

}  // namespace molesignal
