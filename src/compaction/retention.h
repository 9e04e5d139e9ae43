#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>

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
    /// More than this share of a stream's parts at once is not believed at first: a clock that
    /// jumped makes everything old. They go if they are due for `confirm` without another jump.
    double share_max = 0.5;
    std::chrono::seconds confirm{6 * 3600};
    /// So much may the wall clock differ from the steady one between two rounds.
    std::chrono::seconds jump_max{300};
};

struct RetentionReport {
    std::int64_t parts_expired = 0;
    std::int64_t parts_held = 0;  ///< Due, and too many at once to be believed yet.
    std::int64_t parts_purged = 0;
    std::int64_t objects_removed = 0;
    std::int64_t dumps_restored = 0;  ///< Their parts are back in the table, to be removed.
    std::int64_t dumps_purged = 0;
    std::int64_t streams_forgotten = 0;
    std::int64_t failures = 0;  ///< Streams, parts and dumps that the next round tries again.
};

/// Deletes what is older than its stream's retention: first in the catalogue, so that no new query
/// sees it, then, after the longest query, in the object store. Parts that dumps list are brought
/// back into the catalogue's table first, all of a dump as soon as one of them is due. Only what
/// the catalogue names is ever removed; listings of the store play no part. A crash at any step
/// leaves work for the next round, never a row of a live part without its object. What fails is
/// counted, and does not hold up the rest. One thread at a time.
class Retention {
public:
    Retention(const RetentionOptions& options,
              Catalogue& catalogue,
              ObjectStore& objects,
              Clock& clock,
              MetricRegistry& metrics);

    /// For rounds from now on; by the thread that runs them.
    void set_retention_days(std::int32_t days) { options_.retention_days = days; }
    /// One round over all streams. An error: the catalogue cannot tell what there is.
    Result<RetentionReport> run_once(const RequestContext& context);

private:
    Result<> expire(const RequestContext& context, RetentionReport& report);
    Result<> expire_stream(const RequestContext& context,
                           const StreamInfo& stream,
                           RetentionReport& report);
    /// Brings back the parts of some dumps; one that cannot be is counted.
    Result<> restore(const RequestContext& context,
                     const PartDumpQuery& dumps,
                     RetentionReport& report);
    Result<> purge(const RequestContext& context, RetentionReport& report);
    Result<> purge_id_packs(const RequestContext& context, RetentionReport& report);
    Result<> purge_dumps(const RequestContext& context, RetentionReport& report);
    Result<> purge_dump(const RequestContext& context,
                        const PartDump& dump,
                        RetentionReport& report);
    Result<> purge_part(const RequestContext& context,
                        const PartInfo& part,
                        RetentionReport& report);
    /// Whether so many parts may go now.
    bool believed(const StreamInfo& stream, const PartCounts& parts);
    /// Forgets what was waiting for confirmation if the wall clock jumped since the last round.
    void look_at_clock();

    RetentionOptions options_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Counter& deleted_;
    Counter& restored_;
    Counter& failures_;
    UnixNanos last_wall_;
    SteadyNanos last_steady_;
    std::map<std::string, SteadyNanos> held_since_;  ///< By stream id.
    std::set<std::string> failed_parts_;             ///< Of the last round.
    std::set<std::string> failed_dumps_;             ///< That were logged.
};

}  // namespace molesignal
