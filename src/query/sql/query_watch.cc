#include "query/sql/query_watch.h"

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
    queries_.push_back(query);
    wake_.notify_all();
}

void QueryWatch::remove(const WatchedQuery& query) {
    const MutexLock lock(mutex_);
    queries_.remove_if([&query](const auto& entry) {
        const auto alive = entry.lock();
        return alive == nullptr || alive.get() == &query;
    });
}

void QueryWatch::watch() {
    while (true) {
        // Held beyond the lock: the last owner of a query may be this thread.
        std::vector<std::shared_ptr<WatchedQuery>> alive;
        const MutexLock lock(mutex_);
        if (stopping_) {
            return;
        }
        for (const auto& entry : queries_) {
            if (auto query = entry.lock(); query != nullptr && !query->context().check()) {
                query->interrupt();
                if (std::ranges::find(expired_, query) == expired_.end()) {
                    expired_.push_back(query);
                    due_.notify_all();
                }
                alive.push_back(std::move(query));
            }
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
