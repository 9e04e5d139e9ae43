#pragma once

#include <string_view>
#include <vector>

#include "common/result.h"
#include "metadata/catalogue.h"
#include "metadata/sql_connection.h"

namespace molesignal {

/// What read_part reads: a part without its objects.
inline constexpr std::string_view kPartColumns =
    "id, stream_id, rows, raw_bytes, time_start_micros, time_end_micros, shard_id, position_begin,"
    " position_end, statistics, format_version, sort_order, added_version";
Result<PartInfo> read_part(SqlRows& rows, std::size_t row);

/// Gives each part its objects, from the columns part_id, kind, object_key, bytes, xxh3.
Result<> add_objects(std::vector<PartInfo>& parts, SqlRows& objects);

/// What read_id_packs reads.
inline constexpr std::string_view kIdPackColumns =
    "id, object_key, bytes, xxh3, time_start_micros, time_end_micros";
std::vector<IdPackInfo> read_id_packs(SqlRows& rows);
/// What read_dump reads.
inline constexpr std::string_view kDumpColumns =
    "id, stream_id, partition_level, partition_key, object_key, size_bytes, xxh3, rows_in_dump,"
    " rows_total, storage_size_bytes, raw_size_bytes, min_ts_micros, max_ts_micros,"
    " first_end_micros";
PartDump read_dump(SqlRows& rows, std::size_t row);

/// `state` of an intent.
inline constexpr std::string_view kPending = "pending";
inline constexpr std::string_view kAbandoned = "abandoned";

/// kInvalidArgument unless `names`, the intent's object keys, name every object of the parts.
Result<> check_named(const std::vector<PartInfo>& parts,
                     std::string_view names,
                     std::string_view intent);

/// The intent of a compaction, or of a dump, cannot be consumed.
Error compaction_intent_gone(std::string_view compaction_id, std::string_view state);
/// `row` of SqlCatalogue's lock_lease_sql_ is still of that holder and epoch, else kConflict.
/// Nobody took the lease as long as they stand, so its expiry does not matter.
Result<> check_lease(const SqlRows& row, const Lease& lease);

/// What read_shard reads.
inline constexpr std::string_view kShardColumns =
    "id, stream_id, epoch, state, checkpoint, last_flush_id, owner";
Result<ShardInfo> read_shard(SqlRows& rows, std::size_t row);

/// kConflict if the shard has another epoch: somebody else owns it by now.
Result<> check_epoch(const ShardInfo& shard, Epoch epoch);

}  // namespace molesignal
