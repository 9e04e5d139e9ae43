#pragma once

#include <cstdint>

#include "common/strong_id.h"

namespace molesignal {

/// Opaque id of an organisation: a ULID. Used on disk and in object keys, never the name.
using OrgId = StrongName<struct OrgIdTag>;
/// Opaque id of a stream: a ULID.
using StreamId = StrongName<struct StreamIdTag>;
/// A shard of a stream; allocated by the catalogue, never reused.
using ShardId = StrongId<struct ShardIdTag>;
/// Permanent id of one (field, type) of a stream, written to Parquet; unique in its stream, from 1.
using FieldId = StrongId<struct FieldIdTag, std::int32_t>;
/// Index of a row in its shard, from 0.
using Position = StrongId<struct PositionTag>;
/// Fencing token of a lease.
using Epoch = StrongId<struct EpochTag>;

}  // namespace molesignal
