#include "query/query_watch.h"

#include <algorithm>
#include <vector>

namespace molesignal {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(20);

}  // namespace

QueryWatch::QueryWatch(Clock& clock)
    : clock_(clock), watcher_([this] { watch(); }), reaper_([this] { reap(); }) {}

QueryWatch::~QueryWatch() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    due_.notify_all();
    watcher_.join();
    reaper_.join();
}

void QueryWatch::add(const std::shared_ptr<WatchedQuery>& query) {
    const MutexLock lock(mutex_);
    queries_.push_back({.address = query.get(), .query = query});
    wake_.notify_all();
}

void QueryWatch::remove(const WatchedQuery& query) {
    const MutexLock lock(mutex_);
    // Takes no ownership: the last owner of another query must not find itself under the lock.
    queries_.remove_if([&query](const Entry& entry) { return entry.address == &query; });
}

void QueryWatch::look() {
    // Held beyond the lock: the last owner may be this thread, and a query that ends may come back
    // to `remove`.
    std::vector<std::shared_ptr<WatchedQuery>> alive;
    const MutexLock lock(mutex_);
    for (const auto& entry : queries_) {
        auto query = entry.query.lock();
        if (query == nullptr) {
            continue;
        }
        alive.push_back(query);
        if (!query->context().check()) {
            query->interrupt();
            if (std::ranges::find(expired_, query) == expired_.end()) {
                expired_.push_back(std::move(query));
                due_.notify_all();
            }
        }
    }
}

void QueryWatch::watch() {
    while (true) {
        look();
        const MutexLock lock(mutex_);
        if (stopping_) {
            return;
        }
        clock_.wait_until(
            mutex_,
            wake_,
            queries_.empty() ? SteadyNanos::never() : clock_.steady_now() + kInterval);
    }
}

void QueryWatch::reap() {
    while (true) {
        std::shared_ptr<WatchedQuery> query;
        {
            const MutexLock lock(mutex_);
            while (!stopping_ && expired_.empty()) {
                due_.wait(mutex_);
            }
            if (stopping_) {
                return;
            }
            query = std::move(expired_.front());
            expired_.pop_front();
        }
        query->expire();
    }
}

}  // namespace molesignal
