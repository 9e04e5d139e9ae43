#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "compaction/compaction_leases.h"
#include "compaction/work_pace.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

struct IdPackerOptions {
    /// So many parts without a pack are put into one; 0: never.
    std::size_t parts_min = 16;
    std::size_t parts_max = 1'024;
    /// A part with a larger table of ids is asked itself: it is one of few, and its ids take as
    /// much again in a pack.
    std::uint64_t part_bytes_max = 4U << 20U;
    /// Of the tables of one field that are merged into a pack.
    std::uint64_t table_bytes_max = 32U << 20U;
};

/// `table_bytes_max` for such a memory: beside the tables of a field are those of the pack, of some
/// fields, and the file that grows by moving.
inline std::uint64_t pack_table_bytes_for(std::int64_t memory_bytes) {
    constexpr std::int64_t kShare = 8;
    return static_cast<std::uint64_t>(memory_bytes / kShare);
}

/// Packs the ids of the parts of a stream (docs/formats/id_pack.md), so that a look-up of an id
/// asks one object for many parts. Parts that have no pack are few: as soon as there are
/// `parts_min` of them they get one. Small packs are put together, four at a time or more; a pack
/// of which less than half the parts are live is made anew, and one without any is removed. Those
/// of days whose parts a dump lists stay as they are.
///
/// A pack is recorded like a merge: under a lease, by an intent before its object is uploaded, read
/// back, then committed. It never changes what a query finds. One thread at a time.
class IdPacker {
public:
    /// The references outlive this.
    IdPacker(const IdPackerOptions& options,
             CompactionLeases& leases,
             Catalogue& catalogue,
             ObjectStore& objects,
             Clock& clock,
             Random& random,
             MetricRegistry& metrics,
             std::shared_ptr<MemoryBudget> memory);

    /// Brings the packs of a stream up to date; `snapshot` has all its live parts, of which those
    /// of `merging` are about to be merged and would leave a pack at once. Returns how many were
    /// written. What cannot be packed now is logged and tried again by the next round; errors are
    /// those of `context`.
    Result<std::int64_t> run_stream(const RequestContext& context,
                                    const StreamSnapshot& snapshot,
                                    const std::set<std::string>& merging,
                                    const WorkPaceOptions& pace);

private:
    struct Work;
    struct Plan;
    struct OpenPart;

    Result<> learn_packs(const RequestContext& context, const StreamSnapshot& snapshot);
    Plan plan(const StreamSnapshot& snapshot, const std::set<std::string>& merging) const;
    Result<std::int64_t> run_leased(Work& work, const Plan& plan);
    Result<> write_pack(Work& work, std::span<const OpenPart> parts);
    Result<> store(Work& work, const IdPackInfo& pack, Bytes content);
    Result<> commit(Work& work, const std::optional<IdPackInfo>& pack);
    void forget_gone(const StreamSnapshot& snapshot);

    IdPackerOptions options_;
    CompactionLeases& leases_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Random& random_;
    std::shared_ptr<MemoryBudget> memory_;
    Counter& packs_;
    Counter& failures_;
    /// What packs say they are of, by stream and pack.
    std::map<std::string, std::map<std::string, std::vector<std::string>>> parts_of_;
    /// Parts that cannot be packed, by stream.
    std::map<std::string, std::set<std::string>> unpackable_;
};

}  // namespace molesignal
