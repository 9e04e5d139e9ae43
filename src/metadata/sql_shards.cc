// The verbs of SqlCatalogue about shards: who owns them, and their life.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_rows.h"

MS_DEFINE_FAILPOINT(catalogue_shard_made);
MS_DEFINE_FAILPOINT(catalogue_shards_claimed);
MS_DEFINE_FAILPOINT(catalogue_shards_deleted);

namespace molesignal {
namespace {

/// Shards that one statement names.
constexpr std::size_t kIdsMax = 500;

/// `id IN (1,2,3)`. Numbers of ours, so they may stand in the text.
std::string id_condition(std::span<const ShardId> ids) {
    std::string text = "id IN (";
    for (const auto id : ids) {
        text += fmt::format("{}{}", text.ends_with('(') ? "" : ",", id.value);
    }
    return text + ")";
}

}  // namespace

Result<> check_epoch(const ShardInfo& shard, Epoch epoch) {
    if (shard.epoch != epoch) {
        return Error(ErrorCode::kConflict,
                     fmt::format("shard {} has epoch {}, not {}: another writer owns it",
                                 shard.id.value,
                                 shard.epoch.value,
                                 epoch.value));
    }
    return {};
}

Result<ShardInfo> SqlCatalogue::create_shard(const RequestContext& context,
                                             const StreamId& stream,
                                             std::string_view owner) {
    ShardInfo shard;
    const auto insert = [&](SqlConnection& connection) -> Result<> {
        MS_TRY_VOID(lock_stream(context, connection, stream));
        MS_TRY(
            auto rows,
            connection.query(context,
                             fmt::format("INSERT INTO shards (stream_id, epoch, state, checkpoint,"
                                         " last_flush_id, created_at_micros, owner)"
                                         " VALUES ($1, 1, $2, 0, '', $3, $4) RETURNING {}",
                                         kShardColumns),
                             {stream.value, static_cast<int>(ShardState::kOpen), now_us(), owner}));
        MS_TRY(shard, read_shard(rows, 0));
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "make a shard", insert));
    MS_PASS_FAILPOINT(catalogue_shard_made);
    return shard;
}

Result<std::vector<ShardInfo>> SqlCatalogue::query_shards(const RequestContext& context,
                                                          SqlConnection& connection,
                                                          std::string_view condition,
                                                          const SqlParameters& parameters) {
    MS_TRY(auto rows,
           connection.query(
               context,
               fmt::format("SELECT {} FROM shards WHERE {} ORDER BY id", kShardColumns, condition),
               parameters));
    std::vector<ShardInfo> shards;
    shards.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        MS_TRY(auto shard, read_shard(rows, row));
        shards.push_back(std::move(shard));
    }
    return shards;
}

Result<std::optional<ShardInfo>> SqlCatalogue::get_shard(const RequestContext& context,
                                                         ShardId id) {
    MS_TRY(auto rows,
           read(context,
                "get a shard",
                fmt::format("SELECT {} FROM shards WHERE id = $1", kShardColumns),
                {id.value}));
    if (rows.empty()) {
        return std::optional<ShardInfo>();
    }
    MS_TRY(auto shard, read_shard(rows, 0));
    return std::optional<ShardInfo>(std::move(shard));
}

Result<std::vector<ShardInfo>> SqlCatalogue::list_live_shards(const RequestContext& context) {
    std::vector<ShardInfo> shards;
    const auto look = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(shards, query_shards(context, connection, "state < 3", {}));
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kRead, "list shards", look));
    return shards;
}

Result<> SqlCatalogue::claim_tail(const RequestContext& context,
                                  SqlConnection& connection,
                                  std::string_view owner,
                                  const std::pair<ShardId, Position>& tail) {
    MS_TRY_VOID(connection.query(
        context,
        "UPDATE shards SET owner = $1, epoch = epoch + 1, state = 2, deleted_at_micros = NULL"
        " WHERE id = $2 AND ((owner = '' AND state < 3)"
        " OR (owner IN ('', $1) AND state = 3 AND checkpoint < $3 AND EXISTS"
        " (SELECT 1 FROM streams WHERE streams.id = shards.stream_id"
        " AND streams.deleted_at_micros IS NULL)))",
        {owner, tail.first.value, tail.second.value}));
    return {};
}

Result<std::vector<ShardInfo>> SqlCatalogue::claim_shards(
    const RequestContext& context,
    std::string_view owner,
    const std::vector<std::pair<ShardId, Position>>& tails) {
    if (owner.empty()) {
        return Error(ErrorCode::kInvalidArgument, "shards are claimed by a named log");
    }
    std::vector<ShardId> ids;
    ids.reserve(tails.size());
    for (const auto& [id, next] : tails) {
        ids.push_back(id);
    }
    std::map<ShardId, ShardInfo> claimed;
    const auto claim = [&](SqlConnection& connection) -> Result<> {
        claimed.clear();
        // Locks the rows: waits for a commit of a process that was killed in the middle of it.
        MS_TRY_VOID(connection.query(
            context,
            "UPDATE shards SET epoch = epoch + 1, state = 2 WHERE owner = $1 AND state < 3",
            {owner}));
        MS_TRY(auto live, query_shards(context, connection, "owner = $1 AND state < 3", {owner}));
        for (auto& shard : live) {
            claimed.insert_or_assign(shard.id, std::move(shard));
        }
        for (const auto& tail : tails) {
            if (!claimed.contains(tail.first)) {
                MS_TRY_VOID(claim_tail(context, connection, owner, tail));
            }
        }
        for (std::size_t at = 0; at < ids.size(); at += kIdsMax) {
            const auto some = std::span(ids).subspan(at, std::min(kIdsMax, ids.size() - at));
            MS_TRY(auto found, query_shards(context, connection, id_condition(some), {}));
            for (auto& shard : found) {
                claimed.insert_or_assign(shard.id, std::move(shard));
            }
        }
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "claim the shards of a log", claim));
    MS_PASS_FAILPOINT(catalogue_shards_claimed);
    std::vector<ShardInfo> shards;
    shards.reserve(claimed.size());
    for (auto& [id, shard] : claimed) {
        shards.push_back(std::move(shard));
    }
    return shards;
}

Result<> SqlCatalogue::delete_shards(const RequestContext& context,
                                     std::string_view owner,
                                     const std::vector<ShardId>& ids) {
    const auto remove = [&](SqlConnection& connection) -> Result<> {
        for (std::size_t at = 0; at < ids.size(); at += kIdsMax) {
            const auto some = std::span(ids).subspan(at, std::min(kIdsMax, ids.size() - at));
            MS_TRY_VOID(
                connection.query(context,
                                 fmt::format("UPDATE shards SET state = 3, deleted_at_micros = {}"
                                             " WHERE owner = $1 AND state < 3 AND {}",
                                             database_.dialect.now_us,
                                             id_condition(some)),
                                 {owner}));
        }
        return {};
    };
    if (ids.empty()) {
        return {};
    }
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "delete drained shards", remove));
    MS_PASS_FAILPOINT(catalogue_shards_deleted);
    return {};
}

Result<std::int64_t> SqlCatalogue::purge_shards(const RequestContext& context,
                                                std::int64_t age_us) {
    constexpr std::int64_t kPurgedMax = 10'000;
    std::int64_t purged = 0;
    const auto purge = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto removed,
               connection.query(context,
                                fmt::format("DELETE FROM shards WHERE id IN (SELECT id FROM shards"
                                            " WHERE state = 3 AND deleted_at_micros <= {} - $1"
                                            " ORDER BY deleted_at_micros LIMIT $2)"
                                            " AND NOT EXISTS (SELECT 1 FROM flush_intents"
                                            " WHERE flush_intents.shard_id = shards.id)",
                                            database_.dialect.now_us),
                                {age_us, kPurgedMax}));
        purged = removed.changed();
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "forget deleted shards", purge));
    return purged;
}

Result<ShardInfo> SqlCatalogue::lock_shard(const RequestContext& context,
                                           SqlConnection& connection,
                                           ShardId id) {
    MS_TRY(auto rows, connection.query(context, lock_shard_sql_, {id.value}));
    if (rows.empty()) {
        return Error(ErrorCode::kNotFound, fmt::format("shard {} does not exist", id.value));
    }
    return read_shard(rows, 0);
}

Result<> SqlCatalogue::set_shard_state(const RequestContext& context,
                                       ShardId id,
                                       Epoch epoch,
                                       ShardState state) {
    const auto update = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto shard, lock_shard(context, connection, id));
        MS_TRY_VOID(check_epoch(shard, epoch));
        if (state < shard.state) {
            return Error(ErrorCode::kConflict,
                         fmt::format("shard {} is closed or deleted for ever", id.value));
        }
        MS_TRY_VOID(connection.query(
            context,
            fmt::format("UPDATE shards SET state = $2, deleted_at_micros ="
                        " CASE WHEN $2 = 3 THEN COALESCE(deleted_at_micros, {}) END WHERE id = $1",
                        database_.dialect.now_us),
            {id.value, static_cast<int>(state)}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "change a shard's state", update);
}

}  // namespace molesignal
