#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/memory_budget.h"
#include "common/request_context.h"
#include "common/result.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"
#include "model/schema.h"
#include "objectstore/object_store.h"
#include "parquet/merged_part_writer.h"

namespace molesignal {

/// Called between two steps of long work with the bytes read and written since the last call: waits
/// as long as the work has to be slowed down. An error ends the work.
using Pace = std::function<Result<>(std::uint64_t bytes)>;

struct PartMerge {
    std::span<const PartInfo> parts;  ///< Of one stream, at least one.
    const StreamSchema& schema;       ///< Of the stream; has every field of the parts.
    PartWriterOptions writer;
};

/// The most bytes of decoded rows that a merge of `parts` holds at once, about: a row group of each
/// part that may be open at the same time.
std::uint64_t merge_bytes(std::span<const PartInfo> parts);

/// Writes the rows of all parts into one Parquet file as docs/formats/part.md wants it: row groups
/// are disjoint slices of time, the newest first, inside sorted by the service and then by time,
/// newest first. Reads every object once from its begin to its end, a row group at a time, and
/// compares it with its hash in the catalogue before it answers: what was written from a damaged
/// object is not used.
///
/// kCorruption names the part that is damaged or has not the rows that the catalogue says. `out` is
/// empty; its content after an error is nothing. Decoded rows and the row group being written are
/// counted on `memory`, above its limit too.
Result<MergedPart> merge_parts(const RequestContext& context,
                               ObjectStore& objects,
                               const PartMerge& merge,
                               File& out,
                               const Pace& pace,
                               const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
