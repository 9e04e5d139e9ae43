#include "query/query_registry.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

Result<> QueryRegistry::add(RunningQuery query) {
    const MutexLock lock(mutex_);
    const std::pair key(query.org, query.id);
    if (!queries_.emplace(key, std::move(query)).second) {
        return Error(ErrorCode::kConflict,
                     fmt::format("a query with the id '{}' runs already", key.second));
    }
    return {};
}

void QueryRegistry::remove(const std::string& org, const std::string& id) {
    const MutexLock lock(mutex_);
    queries_.erase({org, id});
}

std::vector<RunningQuery> QueryRegistry::list(const std::string& org) const {
    std::vector<RunningQuery> queries;
    {
        const MutexLock lock(mutex_);
        for (auto entry = queries_.lower_bound({org, ""});
             entry != queries_.end() && entry->first.first == org;
             ++entry) {
            queries.push_back(entry->second);
        }
    }
    std::ranges::sort(queries, {}, &RunningQuery::started);
    return queries;
}

Result<> QueryRegistry::cancel(const std::string& org, const std::string& id) {
    const MutexLock lock(mutex_);
    const auto found = queries_.find({org, id});
    if (found == queries_.end()) {
        return Error(ErrorCode::kNotFound, fmt::format("no running query has the id '{}'", id));
    }
    found->second.cancel.cancel();
    return {};
}

std::size_t QueryRegistry::size() const {
    const MutexLock lock(mutex_);
    return queries_.size();
}

}  // namespace molesignal
