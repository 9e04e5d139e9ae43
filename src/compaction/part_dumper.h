#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "compaction/compaction_leases.h"
#include "compaction/compaction_plan.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// What one dump is of.
enum class DumpLevel : std::uint8_t { kDaily = 1, kHourly = 2 };

struct PartDumperOptions {
    CompactionPlanOptions plan;  ///< As the compactor's.
    bool merges = true;          ///< Whether there is a compactor that parts wait for.
    std::int64_t cold_after_days = 30;
    std::int64_t partitions_max = 100;  ///< Of one round.
    DumpLevel level = DumpLevel::kDaily;
    /// compactor.retention_days; 0 keeps everything. A stream's own setting wins.
    std::int32_t retention_days = 0;
    std::size_t parts_max = 20'000;  ///< Of one dump.
    /// As the compactor's, which runs in turns with it.
    CompactionHolder holder;
};

struct PartDumpReport {
    std::int64_t dumps_written = 0;
    std::int64_t parts_moved = 0;
    std::int64_t skipped = 0;   ///< Partitions that are old enough and wait all the same.
    std::int64_t failures = 0;  ///< Partitions and streams that the next round tries again.
};

/// Keeps the catalogue small: moves the rows of old parts out of it, into an object for each day of
/// a stream. Queries, retention and all others see the same parts as before.
///
/// A day (or hour) is due when it is `cold_after_days` past, the compactor has nothing left to
/// merge in it, and retention will not begin with it soon. Parts that come late for a day that has
/// a dump go into a new dump that takes the old one's place.
///
/// Each dump is written under a lease of its stream, recorded in an intent before its upload, read
/// back and compared, and then takes the place of the rows in one transaction, which names the
/// lease's epoch. Killed at any step it leaves the rows or the dump. One thread at a time.
class PartDumper {
public:
    /// Everything passed by reference outlives the dumper; `memory` may be null.
    PartDumper(PartDumperOptions options,
               Catalogue& catalogue,
               ObjectStore& objects,
               Clock& clock,
               Random& random,
               MetricRegistry& metrics,
               std::shared_ptr<MemoryBudget> memory);

    /// For rounds from now on; by the thread that runs them.
    PartDumperOptions& options() { return options_; }

    /// One round over all streams. An error: the catalogue cannot tell what there is, or `context`
    /// ended.
    Result<PartDumpReport> run_once(const RequestContext& context);

private:
    struct Partition;
    struct Work;

    Result<> run_stream(const RequestContext& context,
                        const StreamInfo& stream,
                        PartDumpReport& report);
    std::vector<Partition> find_cold(const StreamSnapshot& snapshot) const;
    /// Why a partition is not dumped now; empty if it is.
    std::string reason_to_wait(const StreamInfo& stream, const Partition& partition) const;
    Result<> dump_all(const RequestContext& context,
                      const StreamInfo& stream,
                      const std::vector<Partition>& due,
                      PartDumpReport& report);
    Result<> dump(Work& work);
    Result<> store(Work& work);
    Result<> commit(Work& work);
    void skip(std::string_view reason, PartDumpReport& report);

    PartDumperOptions options_;
    CompactionLeases leases_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Random& random_;
    MetricRegistry& metrics_;
    std::shared_ptr<MemoryBudget> memory_;
    Counter& written_;
    Counter& rows_written_;
    Counter& failures_;
};

}  // namespace molesignal
