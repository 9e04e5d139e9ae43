#pragma once

#include <deque>
#include <list>
#include <memory>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/request_context.h"

namespace molesignal {

/// A query that is stopped when its deadline passes or it is cancelled.
class WatchedQuery {
public:
    virtual ~WatchedQuery() = default;
    virtual const RequestContext& context() const = 0;
    /// Makes what runs stop soon. Cheap; called again until the query ends.
    virtual void interrupt() = 0;
    /// Ends the query where it stands unless a thread is inside it, which will end it itself. Gives
    /// back what the query holds, though its reader may be slow or gone.
    virtual void expire() = 0;
};

/// Looks after the deadlines of running queries: an engine has none of its own. Thread-safe.
class QueryWatch {
public:
    explicit QueryWatch(Clock& clock);
    ~QueryWatch();

    void add(const std::shared_ptr<WatchedQuery>& query);
    /// Also from the query's destructor.
    void remove(const WatchedQuery& query);

private:
    struct Entry {
        const WatchedQuery* address;  ///< Only to be compared.
        std::weak_ptr<WatchedQuery> query;
    };

    /// Interrupts; never waits for a query.
    void watch();
    void look();
    /// Expires: taking a query apart may take a moment.
    void reap();

    Clock& clock_;
    Mutex mutex_;
    CondVar wake_;
    CondVar due_;
    std::list<Entry> queries_ MS_GUARDED_BY(mutex_);
    std::deque<std::shared_ptr<WatchedQuery>> expired_ MS_GUARDED_BY(mutex_);
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    std::thread watcher_;
    std::thread reaper_;
};

}  // namespace molesignal
