#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

/// A query that runs now.
struct RunningQuery {
    std::string id;
    std::string org;
    std::string statement;
    UnixNanos started;
    CancelToken cancel;
};

/// The queries of this process, for `GET /api/v1/query/running` and cancelling by id. Thread-safe.
class QueryRegistry {
public:
    /// kConflict: the organisation runs a query with this id. Ids of others do not matter: they are
    /// chosen by clients.
    Result<> add(RunningQuery query);
    void remove(const std::string& org, const std::string& id);
    /// The organisation's queries, oldest first.
    std::vector<RunningQuery> list(const std::string& org) const;
    /// kNotFound: the organisation has no such query.
    Result<> cancel(const std::string& org, const std::string& id);
    std::size_t size() const;

private:
    mutable Mutex mutex_;
    /// By organisation and id.
    std::map<std::pair<std::string, std::string>, RunningQuery> queries_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
