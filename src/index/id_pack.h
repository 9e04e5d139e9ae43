#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "index/sidecar_reader.h"

namespace molesignal {

/// The index of a part that goes into a pack. Both outlive the call.
struct IdPackInput {
    std::string part;  ///< Its id.
    const SidecarReader* index = nullptr;
    RangeReader* source = nullptr;
};

/// Bytes of the largest table of ids of an index, which building a pack holds in memory; 0: it has
/// no ids.
std::uint64_t id_table_bytes(const SidecarDirectory& index);

/// A pack of ids: which of many parts may have an id, in one object that a look-up reads at one
/// place (docs/formats/id_pack.md). An index sidecar whose rows stand for the parts, in the order
/// of `parts`, and whose directory has their ids: its fields are those that have a table of ids in
/// one of them, and about which all of them know. Asked like any index.
///
/// Takes the tables of one field at a time, and the pack. kResourceExhausted: `memory` does not
/// have as much. kCorruption: an index is damaged; errors of the sources. Source: the merge of
/// sorted runs, bucket by bucket.
Result<ByteBuffer> build_id_pack(std::span<const IdPackInput> parts,
                                 const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
