#pragma once

#include <chrono>
#include <cstdint>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/request_context.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

struct RetentionOptions {
    /// compactor.retention_days; 0 keeps everything. A stream's own setting wins.
    std::int32_t retention_days = 0;
    /// A removed part's objects stay at least this long: longer than any query may run.
    std::chrono::seconds grace{900};
    std::int64_t parts_per_round_max = 1000;
};

struct RetentionReport {
    std::int64_t parts_expired = 0;
    std::int64_t parts_purged = 0;
    std::int64_t objects_removed = 0;
};

/// Deletes what is older than its stream's retention: first in the catalogue, so that no new query
/// sees it, then, after the longest query, in the object store. A crash at any step leaves work for
/// the next round, never a row of a live part without its object. One thread at a time.
class Retention {
public:
    Retention(const RetentionOptions& options,
              Catalogue& catalogue,
              ObjectStore& objects,
              Clock& clock,
              MetricRegistry& metrics);

    /// One round over all streams.
    Result<RetentionReport> run_once(const RequestContext& context);

private:
    Result<> expire(const RequestContext& context, RetentionReport& report);
    Result<> purge(const RequestContext& context, RetentionReport& report);

    RetentionOptions options_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Counter& deleted_;
};

}  // namespace molesignal
