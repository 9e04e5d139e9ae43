#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "compaction/compaction_leases.h"
#include "compaction/compaction_plan.h"
#include "compaction/id_packer.h"
#include "compaction/index_part.h"
#include "compaction/work_pace.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"
#include "parquet/merged_part_writer.h"

namespace molesignal {

struct CompactorOptions {
    CompactionPlanOptions plan;
    WorkPaceOptions pace;
    PartWriterOptions writer;
    bool writes_index = true;
    /// Rows that one index of texts covers: building it takes about 80 bytes a row.
    std::uint64_t index_rows_max = 1U << 20U;
    /// Directory for the files of the part that is being written. Emptied when the compactor is
    /// made: it belongs to one process.
    std::string scratch_directory = "compaction";
    /// Who this process is among the compactors of a catalogue.
    CompactionHolder holder;
    IdPackerOptions packer;
};

/// Rows of one index of texts (`index_rows_max`) that such a memory allows: half of it for the
/// index that is being built, half for the column being read.
inline std::uint64_t index_rows_for(std::int64_t memory_bytes) {
    constexpr std::int64_t kIndexBytesPerRow = 160;
    return static_cast<std::uint64_t>(memory_bytes / kIndexBytesPerRow);
}

struct CompactionReport {
    std::int64_t groups_merged = 0;
    std::int64_t parts_replaced = 0;
    std::int64_t parts_written = 0;
    std::int64_t groups_held_elsewhere = 0;  ///< Other compactors have their lease.
    std::int64_t groups_postponed = 0;       ///< No memory or disk for them now.
    std::int64_t failures = 0;               ///< Groups that the next round tries again.
    std::int64_t packs_written = 0;          ///< Of ids.
};

/// Merges the parts of streams into larger ones. Each merge holds a lease of the catalogue, so that
/// any number of compactors share the work; records its objects in an intent before the first is
/// uploaded; reads back and compares what it uploaded; and swaps old for new in one transaction,
/// which names the lease's epoch. Of parts that stay it packs the ids (id_packer.h).
/// Killed at any step it leaves the old parts or the new one; objects without a part are removed by
/// whoever holds the lease next. Replaced parts are removed parts like those of retention: their
/// objects stay for the longest query.
///
/// A part that turns out to be damaged is named in the log and left alone; nothing of what was made
/// from it is used. One thread at a time.
class Compactor {
public:
    /// kUnavailable, kResourceExhausted: the scratch directory cannot be prepared. Everything
    /// passed by reference outlives the compactor.
    static Result<std::unique_ptr<Compactor>> make(const CompactorOptions& options,
                                                   Catalogue& catalogue,
                                                   ObjectStore& objects,
                                                   FileSystem& fs,
                                                   Clock& clock,
                                                   Random& random,
                                                   MetricRegistry& metrics,
                                                   std::shared_ptr<MemoryBudget> memory);
    ~Compactor();

    /// For merges from now on; by the thread that runs them.
    void set_pace(const WorkPaceOptions& pace) { options_.pace = pace; }

    /// One round over all streams: what is due now is merged. An error: the catalogue cannot tell
    /// what there is, or `context` ended.
    Result<CompactionReport> run_once(const RequestContext& context);

    /// Removes what merges and dumps of processes that are gone have left behind. A round begins
    /// with it.
    Result<> clear_abandoned(const RequestContext& context);

    /// Writes one live part anew, with a new index: a merge of this part alone. If a dump lists it,
    /// the dump's parts go back into the catalogue's table first. False: another
    /// compactor has the lease of the part's day. kConflict: somebody else has replaced or removed
    /// the part. kCorruption: it is damaged, as the message says. kResourceExhausted: there is no
    /// memory or disk for it now. After an error the part is what it was. `stream` has its fields.
    Result<bool> rewrite_part(const RequestContext& context,
                              const StreamSnapshot& stream,
                              const PartInfo& part);

private:
    struct Work;
    struct Meters;

    Compactor(const CompactorOptions& options,
              Catalogue& catalogue,
              ObjectStore& objects,
              FileSystem& fs,
              Clock& clock,
              Random& random,
              MetricRegistry& metrics,
              std::shared_ptr<MemoryBudget> memory);

    Result<> clean_scratch();
    Result<> run_stream(const RequestContext& context,
                        const StreamInfo& stream,
                        CompactionReport& report);
    Result<> check_fits(const CompactionGroup& group);
    /// False: another compactor has the lease.
    Result<bool> run_group(const RequestContext& context,
                           const StreamSnapshot& stream,
                           const CompactionGroup& group);
    Result<> run_leased(Work& work);
    void note_failure(const StreamInfo& stream, const CompactionGroup& group, const Error& error);
    Result<> merge_group(Work& work);
    Result<> store(Work& work);
    struct IndexObject {
        IndexScope scope = IndexScope::kAll;
        GroupSpan groups;
    };
    std::vector<IndexObject> index_objects(const PartReader& file) const;
    Result<> store_indexes(Work& work, PartReader& file, const std::vector<IndexObject>& objects);
    Result<> verify_stored(Work& work);
    Result<> commit(Work& work);

    CompactorOptions options_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    FileSystem& fs_;
    Clock& clock_;
    Random& random_;
    std::shared_ptr<MemoryBudget> memory_;
    CompactionLeases leases_;
    IdPacker packer_;
    std::unique_ptr<Meters> meters_;
    std::set<std::string> damaged_parts_;  ///< Not to be merged by this process.
};

}  // namespace molesignal
