#include "query/query_registry.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

Result<> QueryRegistry::add(RunningQuery query) {
    const MutexLock lock(mutex_);
    const auto id = query.id;
    if (!queries_.emplace(id, std::move(query)).second) {
        return Error(ErrorCode::kConflict,
                     fmt::format("a query with the id '{}' runs already", id));
    }
    return {};
}

void QueryRegistry::remove(const std::string& id) {
    const MutexLock lock(mutex_);
    queries_.erase(id);
}

std::vector<RunningQuery> QueryRegistry::list(const std::string& org) const {
    std::vector<RunningQuery> queries;
    {
        const MutexLock lock(mutex_);
        for (const auto& [id, query] : queries_) {
            if (query.org == org) {
                queries.push_back(query);
            }
        }
    }
    std::ranges::sort(queries, {}, &RunningQuery::started);
    return queries;
}

Result<> QueryRegistry::cancel(const std::string& org, const std::string& id) {
    const MutexLock lock(mutex_);
    const auto found = queries_.find(id);
    if (found == queries_.end() || found->second.org != org) {
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
