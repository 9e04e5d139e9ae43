// The verbs of SqlCatalogue about compactions: parts that are replaced by others with their rows.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "metadata/row_codec.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_rows.h"

MS_DEFINE_FAILPOINT(catalogue_compaction_intent_before_commit);
MS_DEFINE_FAILPOINT(catalogue_compaction_intent_after_commit);
MS_DEFINE_FAILPOINT(catalogue_compaction_before_commit);
MS_DEFINE_FAILPOINT(catalogue_compaction_after_commit);
MS_DEFINE_FAILPOINT(catalogue_part_replaced);
MS_DEFINE_FAILPOINT(catalogue_id_pack_before_commit);
MS_DEFINE_FAILPOINT(catalogue_id_pack_after_commit);

namespace molesignal {
namespace {

Error stream_gone(const StreamId& stream) {
    return Error(ErrorCode::kConflict,
                 fmt::format("stream {} is deleted: its parts are not compacted", stream.value));
}

Error invalid(const CompactionCommit& commit, std::string_view what) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("compaction {}: {}", commit.compaction_id, what));
}

/// What the caller must get right, whatever the catalogue holds.
Result<> check_commit(const CompactionCommit& commit) {
    if (commit.compaction_id.empty() || commit.lease.name.empty() || commit.lease.holder.empty()) {
        return Error(ErrorCode::kInvalidArgument, "a compaction needs an id and a lease");
    }
    if (commit.replaced.empty()) {
        return invalid(commit, "no part is replaced");
    }
    std::set<std::string_view> ids;
    for (const auto& id : commit.replaced) {
        if (!ids.insert(id).second) {
            return invalid(commit, fmt::format("part {} is replaced twice", id));
        }
    }
    for (const auto& part : commit.parts) {
        if (!ids.insert(part.id).second) {
            return invalid(commit, fmt::format("part {} is named twice", part.id));
        }
        if (part.stream != commit.stream) {
            return invalid(commit, fmt::format("part {} is of another stream", part.id));
        }
        if (part.rows <= 0 || part.objects.empty() || part.time_min_us > part.time_max_us ||
            part.position_begin >= part.position_end) {
            return invalid(
                commit,
                fmt::format("part {}: its rows, times, positions or objects do not fit", part.id));
        }
    }
    return {};
}

/// How far some parts reach together.
struct Extent {
    std::int64_t rows = 0;
    std::int64_t time_min_us = INT64_MAX;
    std::int64_t time_max_us = INT64_MIN;
    Position position_begin{UINT64_MAX};
    Position position_end;
    std::set<ShardId> shards;

    void add(const PartInfo& part) {
        rows += part.rows;
        time_min_us = std::min(time_min_us, part.time_min_us);
        time_max_us = std::max(time_max_us, part.time_max_us);
        position_begin = std::min(position_begin, part.position_begin);
        position_end = std::max(position_end, part.position_end);
        shards.insert(part.shard);
    }
    /// Whether rows of the shard may be there.
    bool may_have(ShardId shard) const {
        return shards.contains(shard) || shards.contains(kSeveralShards);
    }
};

/// As much of a part as replace_part_sql_ returns.
PartInfo read_replaced(const SqlRows& rows) {
    PartInfo part;
    part.rows = rows.integer(0, 0);
    part.time_min_us = rows.integer(0, 1);
    part.time_max_us = rows.integer(0, 2);
    part.position_begin = Position{static_cast<std::uint64_t>(rows.integer(0, 3))};
    part.position_end = Position{static_cast<std::uint64_t>(rows.integer(0, 4))};
    part.shard = ShardId{static_cast<std::uint64_t>(rows.integer(0, 5))};
    return part;
}

/// The last look at a merge before what it was made of goes: no row is lost or made, and bounds
/// that are too narrow would hide some.
Result<> check_same_rows(const CompactionCommit& commit, const Extent& replaced) {
    Extent made;
    for (const auto& part : commit.parts) {
        if (part.shard != kSeveralShards && !replaced.may_have(part.shard)) {
            return invalid(commit,
                           fmt::format("part {} is of shard {}, which none of the replaced is of",
                                       part.id,
                                       part.shard.value));
        }
        made.add(part);
    }
    if (made.rows != replaced.rows) {
        return invalid(commit,
                       fmt::format("{} rows would be replaced by {}", replaced.rows, made.rows));
    }
    if (commit.parts.empty()) {
        return {};
    }
    if (made.time_min_us > replaced.time_min_us || made.time_max_us < replaced.time_max_us) {
        return invalid(
            commit,
            fmt::format("its parts are of the times {} to {} us, the replaced of {} to {}",
                        made.time_min_us,
                        made.time_max_us,
                        replaced.time_min_us,
                        replaced.time_max_us));
    }
    if (made.position_begin > replaced.position_begin ||
        made.position_end < replaced.position_end) {
        return invalid(
            commit,
            fmt::format("its parts are of the positions {} to {}, the replaced of {} to {}",
                        made.position_begin.value,
                        made.position_end.value,
                        replaced.position_begin.value,
                        replaced.position_end.value));
    }
    return {};
}

/// Whether a compaction whose intent is gone was committed: only that makes its parts known.
Result<bool> is_committed(const RequestContext& context,
                          SqlConnection& connection,
                          const CompactionCommit& commit) {
    for (const auto& part : commit.parts) {
        MS_TRY(const auto rows,
               connection.query(context,
                                "SELECT id FROM parquet_file_meta WHERE id = $1 AND stream_id = $2",
                                {part.id, commit.stream.value}));
        if (rows.empty()) {
            return false;
        }
    }
    if (!commit.parts.empty()) {
        return true;
    }
    // One that left no rows: what it replaced is gone.
    for (const auto& id : commit.replaced) {
        MS_TRY(
            const auto rows,
            connection.query(
                context, "SELECT id FROM parquet_file_meta WHERE id = $1 AND NOT deleted", {id}));
        if (!rows.empty()) {
            return false;
        }
    }
    return true;
}

/// An intent must not name an object of a part: when it is abandoned, its objects are deleted.
Result<> check_unused(const RequestContext& context,
                      SqlConnection& connection,
                      const CompactionIntent& intent) {
    for (const auto& key : intent.object_keys) {
        MS_TRY(const auto rows,
               connection.query(
                   context, "SELECT part_id FROM part_objects WHERE object_key = $1", {key}));
        if (!rows.empty()) {
            return Error(ErrorCode::kConflict,
                         fmt::format("object {} is of part {}: compaction {} is committed",
                                     key,
                                     rows.text(0, 0),
                                     intent.compaction_id));
        }
        MS_TRY(const auto packs,
               connection.query(context, "SELECT id FROM id_packs WHERE object_key = $1", {key}));
        if (!packs.empty()) {
            return Error(ErrorCode::kConflict,
                         fmt::format("object {} is of pack {}: compaction {} is committed",
                                     key,
                                     packs.text(0, 0),
                                     intent.compaction_id));
        }
        MS_TRY(const auto dumps,
               connection.query(
                   context, "SELECT id FROM parquet_file_meta_dump WHERE object_key = $1", {key}));
        if (!dumps.empty()) {
            return Error(
                ErrorCode::kConflict,
                fmt::format("object {} is of dump {}, which is committed", key, dumps.text(0, 0)));
        }
    }
    return {};
}

Result<> insert_intent(const RequestContext& context,
                       SqlConnection& connection,
                       const CompactionIntent& intent) {
    const auto keys = encode_names(intent.object_keys);
    MS_TRY(const auto added,
           connection.query(context,
                            "INSERT INTO compaction_intents (compaction_id, stream_id, lease,"
                            " epoch, object_keys, state, created_at_micros)"
                            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                            {intent.compaction_id,
                             intent.stream.value,
                             intent.lease,
                             intent.epoch.value,
                             keys,
                             kPending,
                             intent.created_us}));
    if (added.changed() != 0) {
        return {};
    }
    MS_TRY(const auto same,
           connection.query(context,
                            "SELECT compaction_id FROM compaction_intents WHERE compaction_id = $1"
                            " AND stream_id = $2 AND lease = $3 AND epoch = $4"
                            " AND object_keys = $5 AND state = $6",
                            {intent.compaction_id,
                             intent.stream.value,
                             intent.lease,
                             intent.epoch.value,
                             keys,
                             kPending}));
    return same.empty() ? compaction_intent_gone(intent.compaction_id,
                                                 "recorded with other content or abandoned")
                        : Result<>();
}

}  // namespace

Error compaction_intent_gone(std::string_view compaction_id, std::string_view state) {
    return Error(ErrorCode::kConflict,
                 fmt::format("the intent of compaction {} is {}", compaction_id, state));
}

Result<> check_lease(const SqlRows& row, const Lease& lease) {
    const bool exists = !row.empty();
    const auto epoch = Epoch{exists ? static_cast<std::uint64_t>(row.integer(0, 1)) : 0};
    if (!exists || row.text(0, 0) != lease.holder || epoch != lease.epoch) {
        return Error(ErrorCode::kConflict,
                     fmt::format("'{}' is not held by {} with epoch {} any more",
                                 lease.name,
                                 lease.holder,
                                 lease.epoch.value));
    }
    return {};
}

Result<> SqlCatalogue::add_compaction_intent(const RequestContext& context,
                                             const CompactionIntent& intent) {
    if (intent.compaction_id.empty() || intent.lease.empty()) {
        return Error(ErrorCode::kInvalidArgument, "a compaction needs an id and a lease");
    }
    const auto insert = [&](SqlConnection& connection) -> Result<> {
        auto locked = lock_stream(context, connection, intent.stream);
        if (!locked) {
            return locked.error().code() == ErrorCode::kNotFound ? stream_gone(intent.stream)
                                                                 : locked;
        }
        MS_TRY(const auto lease, connection.query(context, lock_lease_sql_, {intent.lease}));
        const auto holder = lease.empty() ? std::string() : lease.text(0, 0);
        if (holder.empty()) {
            return Error(ErrorCode::kConflict, fmt::format("nobody holds '{}'", intent.lease));
        }
        MS_TRY_VOID(check_lease(
            lease, Lease{.name = intent.lease, .holder = holder, .epoch = intent.epoch}));
        MS_TRY_VOID(check_unused(context, connection, intent));
        MS_TRY_VOID(insert_intent(context, connection, intent));
        MS_PASS_FAILPOINT(catalogue_compaction_intent_before_commit);
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "record a compaction's intent", insert));
    MS_PASS_FAILPOINT(catalogue_compaction_intent_after_commit);
    return {};
}

Result<std::string> SqlCatalogue::consume_intent(const RequestContext& context,
                                                 SqlConnection& connection,
                                                 std::string_view compaction_id,
                                                 const StreamId& stream,
                                                 const Lease& lease) {
    MS_TRY(
        auto consumed,
        connection.query(context,
                         "DELETE FROM compaction_intents WHERE compaction_id = $1"
                         " AND stream_id = $2 AND lease = $3 AND epoch = $4 AND state = $5"
                         " RETURNING object_keys",
                         {compaction_id, stream.value, lease.name, lease.epoch.value, kPending}));
    if (consumed.size() != 1) {
        return compaction_intent_gone(compaction_id,
                                      "abandoned or of another stream, lease or epoch");
    }
    return consumed.take_text(0, 0);
}

Result<> SqlCatalogue::swap_parts(const RequestContext& context,
                                  SqlConnection& connection,
                                  const CompactionCommit& commit) {
    MS_TRY(const auto names,
           consume_intent(context, connection, commit.compaction_id, commit.stream, commit.lease));
    MS_TRY_VOID(
        check_named(commit.parts, names, fmt::format("compaction {}", commit.compaction_id)));
    MS_TRY(const auto version, next_version(context, connection, commit.stream));
    Extent replaced;
    for (const auto& id : commit.replaced) {
        MS_TRY(const auto rows,
               connection.query(context, replace_part_sql_, {version, commit.stream.value, id}));
        if (rows.size() != 1) {
            return Error(ErrorCode::kConflict,
                         fmt::format("part {} is not a live part of the stream any more", id));
        }
        replaced.add(read_replaced(rows));
        MS_PASS_FAILPOINT(catalogue_part_replaced);
    }
    MS_TRY_VOID(check_same_rows(commit, replaced));
    for (const auto& part : commit.parts) {
        MS_TRY_VOID(insert_part(context, connection, part, version));
    }
    MS_PASS_FAILPOINT(catalogue_compaction_before_commit);
    return {};
}

Result<> SqlCatalogue::commit_compaction(const RequestContext& context,
                                         const CompactionCommit& commit) {
    MS_TRY_VOID(check_commit(commit));
    const auto apply = [&](SqlConnection& connection) -> Result<> {
        auto locked = lock_stream(context, connection, commit.stream);
        if (!locked && locked.error().code() != ErrorCode::kNotFound) {
            return locked;
        }
        MS_TRY(const auto lease, connection.query(context, lock_lease_sql_, {commit.lease.name}));
        MS_TRY(const auto intent,
               connection.query(context, lock_compaction_intent_sql_, {commit.compaction_id}));
        if (intent.empty()) {
            // If it is committed, the answer was lost, and lease and stream may be gone since.
            MS_TRY(const bool committed, is_committed(context, connection, commit));
            return committed ? Result<>() : compaction_intent_gone(commit.compaction_id, "gone");
        }
        if (!locked) {
            return stream_gone(commit.stream);
        }
        MS_TRY_VOID(check_lease(lease, commit.lease));
        return swap_parts(context, connection, commit);
    };
    MS_TRY_VOID(transact(context,
                         SqlAccess::kWrite,
                         fmt::format("commit compaction {}", commit.compaction_id),
                         apply));
    MS_PASS_FAILPOINT(catalogue_compaction_after_commit);
    return {};
}

Result<> SqlCatalogue::swap_id_packs(const RequestContext& context,
                                     SqlConnection& connection,
                                     const IdPackCommit& commit) {
    for (const auto& id : commit.replaced) {
        MS_TRY(const auto removed,
               connection.query(context, remove_id_pack_sql_, {commit.stream.value, id}));
        if (removed.changed() != 1) {
            return Error(ErrorCode::kConflict,
                         fmt::format("pack {} is not a live pack of the stream any more", id));
        }
    }
    if (!commit.pack.has_value()) {
        return {};
    }
    const auto& pack = *commit.pack;
    MS_TRY(const auto text,
           consume_intent(context, connection, commit.compaction_id, commit.stream, commit.lease));
    MS_TRY(const auto names, decode_names(text));
    if (names != std::vector<std::string>{pack.object.key}) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the intent of compaction {} does not name the pack's object {}",
                                 commit.compaction_id,
                                 pack.object.key));
    }
    MS_TRY_VOID(connection.query(
        context,
        "INSERT INTO id_packs (id, stream_id, object_key, bytes, xxh3, time_start_micros,"
        " time_end_micros, created_at_micros, deleted)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE)",
        {pack.id,
         commit.stream.value,
         pack.object.key,
         pack.object.bytes,
         pack.object.xxh3,
         pack.time_min_us,
         pack.time_max_us,
         now_us()}));
    return {};
}

Result<> SqlCatalogue::commit_id_pack(const RequestContext& context, const IdPackCommit& commit) {
    if (!commit.pack.has_value() && commit.replaced.empty()) {
        return Error(ErrorCode::kInvalidArgument, "neither a pack comes nor one goes");
    }
    const auto apply = [&](SqlConnection& connection) -> Result<> {
        if (commit.pack.has_value()) {
            // If it is committed, the answer was lost; lease and stream may be gone since.
            MS_TRY(const auto known,
                   connection.query(context,
                                    "SELECT id FROM id_packs WHERE id = $1 AND stream_id = $2",
                                    {commit.pack->id, commit.stream.value}));
            if (!known.empty()) {
                return {};
            }
        }
        auto locked = lock_stream(context, connection, commit.stream);
        if (!locked) {
            return locked.error().code() == ErrorCode::kNotFound ? stream_gone(commit.stream)
                                                                 : locked;
        }
        MS_TRY(const auto lease, connection.query(context, lock_lease_sql_, {commit.lease.name}));
        MS_TRY_VOID(check_lease(lease, commit.lease));
        MS_TRY_VOID(swap_id_packs(context, connection, commit));
        MS_PASS_FAILPOINT(catalogue_id_pack_before_commit);
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "commit a pack of ids", apply));
    MS_PASS_FAILPOINT(catalogue_id_pack_after_commit);
    return {};
}

Result<std::vector<IdPackInfo>> SqlCatalogue::list_id_packs(const RequestContext& context,
                                                            std::string_view after,
                                                            std::int64_t packs_max) {
    MS_TRY(auto rows,
           read(context,
                "list packs",
                fmt::format("SELECT {} FROM id_packs WHERE id > $1 AND NOT deleted"
                            " ORDER BY id LIMIT $2",
                            kIdPackColumns),
                {after, packs_max}));
    return read_id_packs(rows);
}

Result<std::vector<IdPackInfo>> SqlCatalogue::list_removed_id_packs(const RequestContext& context,
                                                                    std::int64_t grace_us,
                                                                    std::int64_t packs_max) {
    MS_TRY(auto rows,
           read(context, "list removed packs", removed_id_packs_sql_, {grace_us, packs_max}));
    return read_id_packs(rows);
}

Result<> SqlCatalogue::purge_id_pack(const RequestContext& context, std::string_view pack_id) {
    const auto purge = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(context, "SELECT deleted FROM id_packs WHERE id = $1", {pack_id}));
        if (rows.empty()) {
            return {};
        }
        if (rows.integer(0, 0) == 0) {
            return Error(ErrorCode::kConflict, fmt::format("pack {} is not removed", pack_id));
        }
        MS_TRY_VOID(connection.query(context, "DELETE FROM id_packs WHERE id = $1", {pack_id}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "forget a pack", purge);
}

Result<std::vector<CompactionIntent>> SqlCatalogue::list_compaction_intents(
    const RequestContext& context) {
    MS_TRY(auto rows,
           read(context,
                "list compaction intents",
                "SELECT compaction_id, stream_id, lease, epoch, object_keys, created_at_micros"
                " FROM compaction_intents ORDER BY compaction_id",
                {}));
    std::vector<CompactionIntent> intents;
    intents.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        CompactionIntent intent{.compaction_id = rows.take_text(row, 0),
                                .stream = StreamId{rows.take_text(row, 1)},
                                .lease = rows.take_text(row, 2),
                                .epoch = Epoch{static_cast<std::uint64_t>(rows.integer(row, 3))},
                                .object_keys = {},
                                .created_us = rows.integer(row, 5)};
        MS_TRY(intent.object_keys, decode_names(rows.text(row, 4)));
        intents.push_back(std::move(intent));
    }
    return intents;
}

Result<> SqlCatalogue::abandon_compaction_intent(const RequestContext& context,
                                                 std::string_view compaction_id) {
    const auto update = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto abandoned,
               connection.query(context,
                                "UPDATE compaction_intents SET state = $2 WHERE compaction_id = $1",
                                {compaction_id, kAbandoned}));
        return abandoned.changed() == 0
                   ? compaction_intent_gone(compaction_id, "consumed or removed")
                   : Result<>();
    };
    return transact(context, SqlAccess::kWrite, "abandon a compaction", update);
}

Result<> SqlCatalogue::remove_compaction_intent(const RequestContext& context,
                                                std::string_view compaction_id) {
    const auto remove = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(context, lock_compaction_intent_sql_, {compaction_id}));
        if (rows.empty()) {
            return {};
        }
        if (rows.text(0, 0) != kAbandoned) {
            return compaction_intent_gone(compaction_id, "not abandoned: it may still commit");
        }
        MS_TRY_VOID(connection.query(
            context, "DELETE FROM compaction_intents WHERE compaction_id = $1", {compaction_id}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "remove a compaction's intent", remove);
}

}  // namespace molesignal
