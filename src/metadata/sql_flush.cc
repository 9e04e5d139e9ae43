// The verbs of SqlCatalogue about flushes and the life of parts.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "metadata/row_codec.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_rows.h"

MS_DEFINE_FAILPOINT(catalogue_intent_before_commit);
MS_DEFINE_FAILPOINT(catalogue_intent_after_commit);
MS_DEFINE_FAILPOINT(catalogue_before_commit);
MS_DEFINE_FAILPOINT(catalogue_after_commit);
MS_DEFINE_FAILPOINT(catalogue_part_inserted);

namespace molesignal {
namespace {

Error intent_gone(std::string_view flush_id, std::string_view state) {
    return Error(ErrorCode::kConflict,
                 fmt::format("the intent of flush {} is {}", flush_id, state));
}

/// What the caller must get right, whatever the catalogue holds.
Result<> check_commit(const FlushCommit& commit) {
    if (commit.flush_id.empty()) {
        return Error(ErrorCode::kInvalidArgument, "a flush needs an id");
    }
    if (commit.new_checkpoint < commit.expected_checkpoint) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the checkpoint would go back from {} to {}",
                                 commit.expected_checkpoint.value,
                                 commit.new_checkpoint.value));
    }
    for (const auto& part : commit.parts) {
        if (part.shard != commit.shard || part.objects.empty() ||
            part.time_min_us > part.time_max_us || part.position_begin >= part.position_end ||
            part.position_end > commit.new_checkpoint) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("part {} does not fit its flush", part.id));
        }
    }
    return {};
}

}  // namespace

Result<> check_named(const std::vector<PartInfo>& parts,
                     std::string_view names,
                     std::string_view intent) {
    MS_TRY(const auto keys, decode_names(names));
    const std::set<std::string_view> named(keys.begin(), keys.end());
    for (const auto& part : parts) {
        for (const auto& object : part.objects) {
            if (!named.contains(object.key)) {
                return Error(
                    ErrorCode::kInvalidArgument,
                    fmt::format("object {} is not named by the intent of {}", object.key, intent));
            }
        }
    }
    return {};
}

Result<> SqlCatalogue::add_flush_intent(const RequestContext& context, const FlushIntent& intent) {
    const auto keys = encode_names(intent.object_keys);
    const auto insert = [&](SqlConnection& connection) -> Result<> {
        MS_TRY_VOID(lock_stream(context, connection, intent.stream));
        MS_TRY(const auto shard, lock_shard(context, connection, intent.shard));
        if (shard.last_flush_id == intent.flush_id) {
            // Committed before: a second intent would one day be abandoned and take the objects of
            // live parts with it.
            return {};
        }
        MS_TRY_VOID(check_epoch(shard, intent.epoch));
        if (shard.stream != intent.stream || shard.state == ShardState::kDeleted) {
            return Error(ErrorCode::kConflict,
                         fmt::format("shard {} is deleted or of another stream", shard.id.value));
        }
        MS_TRY(const auto added,
               connection.query(context,
                                "INSERT INTO flush_intents (flush_id, stream_id, shard_id, epoch,"
                                " position_begin, position_end, object_keys, state,"
                                " created_at_micros) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                                " ON CONFLICT DO NOTHING",
                                {intent.flush_id,
                                 intent.stream.value,
                                 intent.shard.value,
                                 intent.epoch.value,
                                 intent.begin.value,
                                 intent.end.value,
                                 keys,
                                 kPending,
                                 intent.created_us}));
        if (added.changed() == 0) {
            MS_TRY(const auto same,
                   connection.query(context,
                                    "SELECT flush_id FROM flush_intents WHERE flush_id = $1"
                                    " AND stream_id = $2 AND shard_id = $3 AND epoch = $4"
                                    " AND position_begin = $5 AND position_end = $6"
                                    " AND object_keys = $7 AND state = $8",
                                    {intent.flush_id,
                                     intent.stream.value,
                                     intent.shard.value,
                                     intent.epoch.value,
                                     intent.begin.value,
                                     intent.end.value,
                                     keys,
                                     kPending}));
            if (same.empty()) {
                return intent_gone(intent.flush_id, "recorded with other content or abandoned");
            }
        }
        MS_PASS_FAILPOINT(catalogue_intent_before_commit);
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "record a flush's intent", insert));
    MS_PASS_FAILPOINT(catalogue_intent_after_commit);
    return {};
}

Result<> SqlCatalogue::consume_intent(const RequestContext& context,
                                      SqlConnection& connection,
                                      const FlushCommit& commit) {
    MS_TRY(const auto consumed,
           connection.query(context,
                            "DELETE FROM flush_intents WHERE flush_id = $1 AND shard_id = $2"
                            " AND epoch = $3 AND state = $4 RETURNING object_keys",
                            {commit.flush_id, commit.shard.value, commit.epoch.value, kPending}));
    if (consumed.size() != 1) {
        return intent_gone(commit.flush_id, "missing or abandoned");
    }
    return check_named(commit.parts, consumed.text(0, 0), fmt::format("flush {}", commit.flush_id));
}

Result<> SqlCatalogue::insert_part(const RequestContext& context,
                                   SqlConnection& connection,
                                   const PartInfo& part,
                                   std::int64_t version) {
    std::int64_t bytes = 0;
    for (const auto& object : part.objects) {
        bytes += object.bytes;
    }
    const auto statistics = encode_statistics(part);
    MS_TRY_VOID(connection.query(
        context,
        "INSERT INTO parquet_file_meta (id, stream_id, rows, size_bytes, raw_bytes,"
        " time_start_micros, time_end_micros, shard_id, position_begin, position_end, statistics,"
        " format_version, sort_order, created_at_micros, added_version, deleted)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, FALSE)",
        {part.id,
         part.stream.value,
         part.rows,
         bytes,
         part.raw_bytes,
         part.time_min_us,
         part.time_max_us,
         part.shard.value,
         part.position_begin.value,
         part.position_end.value,
         SqlBytes{statistics},
         part.format_version,
         part.sort_order,
         now_us(),
         version}));
    std::int64_t position = 0;
    for (const auto& object : part.objects) {
        MS_TRY_VOID(connection.query(
            context,
            "INSERT INTO part_objects (part_id, position, kind, object_key, bytes, xxh3)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            {part.id, position, object.kind, object.key, object.bytes, object.xxh3}));
        ++position;
    }
    MS_PASS_FAILPOINT(catalogue_part_inserted);
    return {};
}

Result<> SqlCatalogue::commit_flush(const RequestContext& context, const FlushCommit& commit) {
    MS_TRY_VOID(check_commit(commit));
    const auto apply = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto owner,
               connection.query(
                   context, "SELECT stream_id FROM shards WHERE id = $1", {commit.shard.value}));
        if (owner.empty()) {
            return Error(ErrorCode::kNotFound,
                         fmt::format("shard {} does not exist", commit.shard.value));
        }
        const StreamId stream{owner.text(0, 0)};
        auto locked = lock_stream(context, connection, stream);
        if (!locked && locked.error().code() != ErrorCode::kNotFound) {
            return locked;
        }
        MS_TRY(const auto shard, lock_shard(context, connection, commit.shard));
        if (shard.last_flush_id == commit.flush_id) {
            return {};  // The answer to an earlier commit was lost.
        }
        MS_TRY_VOID(locked);
        MS_TRY_VOID(check_epoch(shard, commit.epoch));
        if (shard.checkpoint != commit.expected_checkpoint) {
            return Error(ErrorCode::kConflict,
                         fmt::format("the checkpoint of shard {} is {}, not {}",
                                     shard.id.value,
                                     shard.checkpoint.value,
                                     commit.expected_checkpoint.value));
        }
        if (shard.state == ShardState::kDeleted) {
            return Error(ErrorCode::kConflict, fmt::format("shard {} is deleted", shard.id.value));
        }
        MS_TRY_VOID(consume_intent(context, connection, commit));
        MS_TRY(const auto version, next_version(context, connection, stream));
        for (const auto& part : commit.parts) {
            if (part.stream != stream) {
                return Error(ErrorCode::kInvalidArgument,
                             fmt::format("part {} is of another stream", part.id));
            }
            MS_TRY_VOID(insert_part(context, connection, part, version));
        }
        MS_TRY(const auto moved,
               connection.query(context,
                                "UPDATE shards SET checkpoint = $2, last_flush_id = $3"
                                " WHERE id = $1 AND checkpoint = $4 AND epoch = $5",
                                {commit.shard.value,
                                 commit.new_checkpoint.value,
                                 commit.flush_id,
                                 commit.expected_checkpoint.value,
                                 commit.epoch.value}));
        if (moved.changed() != 1) {
            return Error(ErrorCode::kConflict, "the checkpoint moved under a lock");
        }
        MS_PASS_FAILPOINT(catalogue_before_commit);
        return {};
    };
    MS_TRY_VOID(transact(
        context, SqlAccess::kWrite, fmt::format("commit flush {}", commit.flush_id), apply));
    MS_PASS_FAILPOINT(catalogue_after_commit);
    return {};
}

Result<std::vector<FlushIntent>> SqlCatalogue::list_flush_intents(const RequestContext& context) {
    MS_TRY(auto rows,
           read(context,
                "list flush intents",
                "SELECT flush_id, i.stream_id, shard_id, i.epoch, position_begin, position_end,"
                " object_keys, i.created_at_micros, owner"
                " FROM flush_intents i JOIN shards s ON s.id = i.shard_id ORDER BY flush_id",
                {}));
    std::vector<FlushIntent> intents;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        FlushIntent intent{.flush_id = rows.take_text(row, 0),
                           .stream = StreamId{rows.take_text(row, 1)},
                           .shard = ShardId{static_cast<std::uint64_t>(rows.integer(row, 2))},
                           .owner = rows.take_text(row, 8),
                           .epoch = Epoch{static_cast<std::uint64_t>(rows.integer(row, 3))},
                           .begin = Position{static_cast<std::uint64_t>(rows.integer(row, 4))},
                           .end = Position{static_cast<std::uint64_t>(rows.integer(row, 5))},
                           .object_keys = {},
                           .created_us = rows.integer(row, 7)};
        MS_TRY(intent.object_keys, decode_names(rows.text(row, 6)));
        intents.push_back(std::move(intent));
    }
    return intents;
}

Result<> SqlCatalogue::abandon_flush_intent(const RequestContext& context,
                                            std::string_view flush_id) {
    const auto update = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto abandoned,
               connection.query(context,
                                "UPDATE flush_intents SET state = $2 WHERE flush_id = $1",
                                {flush_id, kAbandoned}));
        if (abandoned.changed() == 0) {
            return intent_gone(flush_id, "consumed or removed");
        }
        return {};
    };
    return transact(context, SqlAccess::kWrite, "abandon a flush", update);
}

Result<> SqlCatalogue::remove_flush_intent(const RequestContext& context,
                                           std::string_view flush_id) {
    const auto remove = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows, connection.query(context, lock_intent_sql_, {flush_id}));
        if (rows.empty()) {
            return {};
        }
        if (rows.text(0, 0) != kAbandoned) {
            return intent_gone(flush_id, "not abandoned: its flush may still commit");
        }
        MS_TRY_VOID(
            connection.query(context, "DELETE FROM flush_intents WHERE flush_id = $1", {flush_id}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "remove a flush's intent", remove);
}

Result<PartCounts> SqlCatalogue::count_parts(const RequestContext& context,
                                             const StreamId& stream,
                                             std::int64_t time_max_before_us) {
    MS_TRY(const auto rows,
           read(context,
                "count a stream's parts",
                "SELECT CAST(COALESCE(SUM(parts), 0) AS BIGINT),"
                " CAST(COALESCE(SUM(CASE WHEN ends < $2 THEN parts ELSE 0 END), 0) AS BIGINT) FROM"
                " (SELECT 1 AS parts, time_end_micros AS ends FROM parquet_file_meta"
                " WHERE stream_id = $1 AND NOT deleted UNION ALL"
                " SELECT rows_in_dump, first_end_micros FROM parquet_file_meta_dump"
                " WHERE stream_id = $1 AND NOT deleted) AS all_parts",
                {stream.value, time_max_before_us}));
    return PartCounts{.live = rows.integer(0, 0), .due = rows.integer(0, 1)};
}

Result<std::int64_t> SqlCatalogue::expire_parts(const RequestContext& context,
                                                const StreamId& stream,
                                                std::int64_t time_max_before_us,
                                                std::int64_t parts_max) {
    // Most rounds find nothing; they do not take the write lock.
    MS_TRY(const auto old,
           read(context,
                "look for expired parts",
                "SELECT id FROM parquet_file_meta WHERE stream_id = $1 AND NOT deleted"
                " AND time_end_micros < $2 LIMIT 1",
                {stream.value, time_max_before_us}));
    if (old.empty() || parts_max <= 0) {
        return 0;
    }
    std::int64_t expired = 0;
    const auto update = [&](SqlConnection& connection) -> Result<> {
        MS_TRY_VOID(lock_stream(context, connection, stream));
        MS_TRY(const auto version, next_version(context, connection, stream));
        MS_TRY(const auto removed,
               connection.query(context,
                                expire_parts_sql_,
                                {version, stream.value, time_max_before_us, parts_max}));
        expired = removed.changed();
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "expire parts", update));
    return expired;
}

Result<std::vector<PartInfo>> SqlCatalogue::query_parts(const RequestContext& context,
                                                        std::string_view doing,
                                                        std::string_view wanted,
                                                        const SqlParameters& parameters) {
    std::vector<PartInfo> parts;
    const auto look = [&](SqlConnection& connection) -> Result<> {
        parts.clear();
        MS_TRY(auto rows,
               connection.query(
                   context, fmt::format("SELECT {} {}", kPartColumns, wanted), parameters));
        MS_TRY(auto objects,
               connection.query(
                   context,
                   fmt::format("SELECT part_id, kind, object_key, bytes, xxh3 FROM part_objects"
                               " WHERE part_id IN (SELECT id {}) ORDER BY part_id, position",
                               wanted),
                   parameters));
        for (std::size_t row = 0; row < rows.size(); ++row) {
            MS_TRY(auto part, read_part(rows, row));
            parts.push_back(std::move(part));
        }
        return add_objects(parts, objects);
    };
    MS_TRY_VOID(transact(context, SqlAccess::kRead, doing, look));
    return parts;
}

Result<std::vector<PartInfo>> SqlCatalogue::list_removed_parts(const RequestContext& context,
                                                               std::int64_t grace_us,
                                                               std::int64_t parts_max) {
    return query_parts(context, "list removed parts", removed_parts_sql_, {grace_us, parts_max});
}

Result<std::vector<PartInfo>> SqlCatalogue::list_parts(const RequestContext& context,
                                                       std::string_view after,
                                                       std::int64_t parts_max) {
    return query_parts(context,
                       "list parts",
                       "FROM parquet_file_meta WHERE id > $1 AND NOT deleted ORDER BY id LIMIT $2",
                       {after, parts_max});
}

Result<std::vector<PartInfo>> SqlCatalogue::list_stream_parts(const RequestContext& context,
                                                              const StreamId& stream,
                                                              std::string_view after,
                                                              std::int64_t parts_max) {
    return query_parts(context,
                       "list a stream's parts",
                       "FROM parquet_file_meta WHERE stream_id = $1 AND NOT deleted AND id > $2"
                       " ORDER BY id LIMIT $3",
                       {stream.value, after, parts_max});
}

Result<std::vector<std::string>> SqlCatalogue::check_integrity(const RequestContext& context) {
    std::vector<std::string> findings;
    if (database_.dialect.check_integrity.empty()) {
        return findings;
    }
    MS_TRY(auto rows, read(context, "check the catalogue", database_.dialect.check_integrity, {}));
    for (std::size_t row = 0; row < rows.size(); ++row) {
        if (auto text = rows.take_text(row, 0); text != "ok") {
            findings.push_back(std::move(text));
        }
    }
    return findings;
}

Result<> SqlCatalogue::purge_part(const RequestContext& context, std::string_view part_id) {
    const auto purge = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(
                   context, "SELECT deleted FROM parquet_file_meta WHERE id = $1", {part_id}));
        if (rows.empty()) {
            return {};
        }
        if (rows.integer(0, 0) == 0) {
            return Error(ErrorCode::kConflict, fmt::format("part {} is not removed", part_id));
        }
        MS_TRY_VOID(
            connection.query(context, "DELETE FROM part_objects WHERE part_id = $1", {part_id}));
        MS_TRY_VOID(
            connection.query(context, "DELETE FROM parquet_file_meta WHERE id = $1", {part_id}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "forget a part", purge);
}

}  // namespace molesignal
