#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "common/clock.h"
#include "metadata/catalogue.h"

namespace molesignal {

struct CompactionPlanOptions {
    std::uint64_t target_bytes = std::uint64_t{512} << 20U;  ///< Of a merged part's objects.
    std::size_t parts_min = 8;   ///< Of one merge while its day goes on.
    std::size_t parts_max = 64;  ///< Of one merge.
    std::uint64_t memory_bytes = std::uint64_t{256} << 20U;  ///< Of decoded rows (merge_bytes).
    /// A day is over when it ended so long ago: what comes later is late.
    std::chrono::seconds settled{2 * 3600};
};

/// One merge to be done; its parts in the order of their times.
struct CompactionGroup {
    std::int64_t bucket = 0;  ///< UTC day since 1970 (the first, if the parts span more).
    std::vector<PartInfo> parts;
    std::uint64_t bytes = 0;
};

/// Chooses which of a stream's live parts to merge. Parts of different UTC days stay apart, so that
/// retention goes by days; those that span more than a day (a backfill of years) are merged with
/// their like only, in the order of their times.
///
/// A part is rewritten only together with enough others, so that a row is rewritten a few times in
/// its life, by the logarithm of its day's parts: while a day goes on at least `parts_min` are
/// merged, none of them larger than twice the mean of as many; of a day that is over two do, none
/// larger than two thirds of all. What has half the target already stays. No group is larger than
/// the target.
///
/// The oldest days first. Deterministic; each part is in one group at most.
std::vector<CompactionGroup> plan_compactions(std::vector<PartInfo> parts,
                                              UnixNanos now,
                                              const CompactionPlanOptions& options);

/// A group of one part, in the bucket that a merge of it with others has.
CompactionGroup group_of_one(const PartInfo& part);

}  // namespace molesignal
