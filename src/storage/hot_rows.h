#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/hot_chunk.h"
#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

/// The rows of one stream that are acknowledged at one moment and may not be in parts yet.
struct HotSnapshot {
    std::vector<HotChunk> chunks;
    /// The fields of the rows, in order of appearance; the catalogue may not know them yet.
    std::vector<std::pair<std::string, FieldType>> fields;
    /// Of `fields`: those with integers that float64 cannot hold exactly.
    std::vector<bool> inexact_as_float;
    std::uint64_t rows() const;
};

/// Gives out hot snapshots. Implemented by the ingester; remote ones follow with the cluster.
///
/// A reader takes the hot snapshot first and the catalogue's snapshot after it, then ignores hot
/// rows below each shard's checkpoint: a row flushed in between is in both and counted once; a row
/// released before the hot snapshot is in the catalogue's already. Thread-safe.
class HotSource {
public:
    virtual ~HotSource() = default;
    virtual HotSnapshot hot_snapshot(const StreamId& stream) = 0;
};

/// Adds the hot rows' fields to `schema` where it lacks them, with ids that no stored field has
/// (negative): they are the query's own until a flush gives them real ones.
void add_hot_fields(StreamSchema& schema, const HotSnapshot& snapshot);

/// Cuts `snapshot` down to rows at or above each shard's checkpoint. A shard that is not among
/// `checkpoints` is gone from the catalogue, which happens only after all its rows were flushed (or
/// its stream deleted): all of its rows are dropped.
void drop_flushed_rows(HotSnapshot& snapshot,
                       const std::vector<std::pair<ShardId, Position>>& checkpoints);

}  // namespace molesignal
