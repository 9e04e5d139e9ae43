#include "query/query_slots.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

/// How often a waiter looks whether it was cancelled.
constexpr auto kCancelPoll = std::chrono::milliseconds(50);

}  // namespace

Result<QuerySlots::Slot> QuerySlots::take(const RequestContext& context, const std::string& org) {
    const MutexLock lock(mutex_);
    auto& mine = orgs_[org];
    if (waiting_ >= options_.waiting_max || mine.waiting.size() >= options_.waiting_org_max) {
        const auto waiting = mine.waiting.size();
        forget(org);
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("{} queries run (query.concurrency) and {} wait already, {} of "
                                 "them of this organisation; try again later",
                                 running_,
                                 waiting_,
                                 waiting));
    }
    Waiter waiter;
    mine.waiting.push_back(&waiter);
    ++waiting_;
    grant();
    Result<> alive;
    while (!waiter.granted && (alive = context.check())) {
        clock_.wait_until(
            mutex_, granted_, std::min(context.deadline, clock_.steady_now() + kCancelPoll));
    }
    if (waiter.granted) {
        return Slot(*this, org);
    }
    std::erase(orgs_[org].waiting, &waiter);
    --waiting_;
    forget(org);
    if (alive.error().code() == ErrorCode::kTimeout) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("{} queries run already and none ended in time "
                                 "(query.concurrency)",
                                 running_));
    }
    return std::move(alive).error();
}

void QuerySlots::grant() {
    while (running_ < options_.running_max && waiting_ > 0) {
        Org* next = nullptr;
        for (auto& [name, org] : orgs_) {
            if (!org.waiting.empty() &&
                (next == nullptr ||
                 std::pair(org.running, org.served) < std::pair(next->running, next->served))) {
                next = &org;
            }
        }
        next->waiting.front()->granted = true;
        next->waiting.pop_front();
        next->served = ++given_;
        ++next->running;
        --waiting_;
        ++running_;
    }
    granted_.notify_all();
}

void QuerySlots::give_back(const std::string& org) {
    const MutexLock lock(mutex_);
    --running_;
    --orgs_[org].running;
    forget(org);
    grant();
}

void QuerySlots::forget(const std::string& org) {
    const auto found = orgs_.find(org);
    if (found->second.running == 0 && found->second.waiting.empty()) {
        orgs_.erase(found);
    }
}

std::size_t QuerySlots::running() const {
    const MutexLock lock(mutex_);
    return running_;
}

std::size_t QuerySlots::waiting() const {
    const MutexLock lock(mutex_);
    return waiting_;
}

}  // namespace molesignal
