// The verbs of SqlCatalogue about streams, fields and what a reader sees.
#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include <fmt/format.h>

#include "metadata/row_codec.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_rows.h"

namespace molesignal {
namespace {

constexpr std::string_view kStreamColumns =
    "id, org_id, name, stream_type, settings, created_at_micros, version";
// In the partial index's words, so that the databases use it.
constexpr std::string_view kStreamLive = "deleted_at_micros IS NULL";

Result<StreamInfo> read_stream(SqlRows& rows, std::size_t row) {
    StreamInfo info{.id = StreamId{rows.take_text(row, 0)},
                    .org = OrgId{rows.take_text(row, 1)},
                    .name = rows.take_text(row, 2),
                    .settings = {},
                    .created_us = rows.integer(row, 5),
                    .version = rows.integer(row, 6)};
    MS_TRY(info.type, parse_stream_type(rows.text(row, 3)));
    MS_TRY(info.settings, decode_settings(rows.text(row, 4)));
    return info;
}

Result<std::optional<StreamInfo>> read_optional_stream(SqlRows& rows) {
    if (rows.empty()) {
        return std::optional<StreamInfo>();
    }
    MS_TRY(auto info, read_stream(rows, 0));
    return std::optional<StreamInfo>(std::move(info));
}

Error stream_missing() {
    return Error(ErrorCode::kNotFound, "the stream does not exist");
}

Result<StreamSchema> query_schema(const RequestContext& context,
                                  SqlConnection& connection,
                                  const StreamId& stream) {
    MS_TRY(auto rows,
           connection.query(context,
                            "SELECT field_id, name, type, inexact_as_float FROM stream_fields"
                            " WHERE stream_id = $1 ORDER BY field_id",
                            {stream.value}));
    StreamSchema schema;
    schema.variants.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        FieldVariant variant{.id = FieldId{static_cast<std::int32_t>(rows.integer(row, 0))},
                             .name = rows.take_text(row, 1),
                             .inexact_as_float = rows.integer(row, 3) != 0};
        MS_TRY(variant.type, decode_field_type(static_cast<std::uint8_t>(rows.integer(row, 2))));
        schema.variants.push_back(std::move(variant));
    }
    return schema;
}

bool schema_covers(const StreamSchema& schema, const std::vector<NewField>& fields) {
    std::map<std::pair<std::string_view, FieldType>, bool> known;
    for (const auto& variant : schema.variants) {
        known[{variant.name, variant.type}] = variant.inexact_as_float;
    }
    return std::ranges::all_of(fields, [&](const NewField& field) {
        const auto found = known.find({field.name, field.type});
        return found != known.end() && (found->second || !field.inexact_as_float);
    });
}

Result<> insert_missing_fields(const RequestContext& context,
                               SqlConnection& connection,
                               const StreamId& stream,
                               const StreamSchema& schema,
                               const std::vector<NewField>& fields) {
    // One entry a field, though the caller may name it twice.
    std::map<std::pair<std::string_view, FieldType>, bool> inexact;
    std::vector<const NewField*> unique;
    for (const auto& field : fields) {
        const auto [entry, is_new] = inexact.try_emplace({field.name, field.type}, false);
        entry->second = entry->second || field.inexact_as_float;
        if (is_new) {
            unique.push_back(&field);
        }
    }
    std::map<std::pair<std::string_view, FieldType>, const FieldVariant*> known;
    std::int64_t last_id = 0;
    for (const auto& variant : schema.variants) {
        known[{variant.name, variant.type}] = &variant;
        last_id = std::max<std::int64_t>(last_id, variant.id.value);
    }
    for (const auto* field : unique) {
        const bool is_inexact = inexact[{field->name, field->type}];
        const auto found = known.find({field->name, field->type});
        if (found == known.end()) {
            MS_TRY_VOID(
                connection.query(context,
                                 "INSERT INTO stream_fields (stream_id, field_id, name,"
                                 " type, inexact_as_float) VALUES ($1, $2, $3, $4, $5 <> 0)",
                                 {stream.value,
                                  ++last_id,
                                  SqlBytes{field->name},
                                  static_cast<std::int64_t>(field->type),
                                  static_cast<std::int64_t>(is_inexact)}));
        } else if (is_inexact && !found->second->inexact_as_float) {
            MS_TRY_VOID(connection.query(context,
                                         "UPDATE stream_fields SET inexact_as_float = TRUE"
                                         " WHERE stream_id = $1 AND field_id = $2",
                                         {stream.value, found->second->id.value}));
        }
    }
    return {};
}

/// Those that name the stream. Its id does not come back, so no epoch is given twice.
Result<> forget_leases(const RequestContext& context,
                       SqlConnection& connection,
                       std::string_view stream) {
    const auto prefix = fmt::format("compaction/{}/", stream);
    MS_TRY_VOID(
        connection.query(context,
                         "DELETE FROM leases WHERE substr(name, 1, CAST($2 AS INTEGER)) = $1",
                         {prefix, prefix.size()}));
    return {};
}

constexpr std::string_view kPartsInRange =
    "FROM parquet_file_meta WHERE stream_id = $1 AND NOT deleted"
    " AND time_end_micros >= $2 AND time_start_micros <= $3"
    " ORDER BY time_end_micros DESC, id DESC";
constexpr std::string_view kObjectsInRange =
    "SELECT o.part_id, o.kind, o.object_key, o.bytes, o.xxh3"
    " FROM parquet_file_meta p JOIN part_objects o ON o.part_id = p.id"
    " WHERE p.stream_id = $1 AND NOT p.deleted"
    " AND p.time_end_micros >= $2 AND p.time_start_micros <= $3"
    " ORDER BY o.part_id, o.position";
constexpr std::string_view kDumpsInRange =
    "FROM parquet_file_meta_dump WHERE stream_id = $1 AND NOT deleted"
    " AND max_ts_micros >= $2 AND min_ts_micros <= $3 ORDER BY max_ts_micros DESC, id DESC";
/// In the table and in dumps.
constexpr std::string_view kPartsOfStream =
    "SELECT (SELECT COUNT(*) FROM parquet_file_meta WHERE stream_id = $1 AND NOT deleted)"
    " + (SELECT CAST(COALESCE(SUM(rows_in_dump), 0) AS BIGINT) FROM parquet_file_meta_dump"
    " WHERE stream_id = $1 AND NOT deleted)";

/// The parts of the dump that have rows of these times.
void add_parts(const PartList& list,
               std::int64_t time_min_us,
               std::int64_t time_max_us,
               std::vector<PartInfo>& parts) {
    for (const auto& part : *list) {
        if (part.time_max_us >= time_min_us && part.time_min_us <= time_max_us) {
            parts.push_back(part);
        }
    }
}

}  // namespace

std::vector<IdPackInfo> read_id_packs(SqlRows& rows) {
    std::vector<IdPackInfo> packs;
    packs.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        packs.push_back({.id = rows.take_text(row, 0),
                         .object = {.kind = "id_pack",
                                    .key = rows.take_text(row, 1),
                                    .bytes = rows.integer(row, 2),
                                    .xxh3 = static_cast<std::uint64_t>(rows.integer(row, 3))},
                         .time_min_us = rows.integer(row, 4),
                         .time_max_us = rows.integer(row, 5)});
    }
    return packs;
}

Result<PartInfo> read_part(SqlRows& rows, std::size_t row) {
    PartInfo part{.id = rows.take_text(row, 0),
                  .stream = StreamId{rows.take_text(row, 1)},
                  .objects = {},
                  .rows = rows.integer(row, 2),
                  .raw_bytes = rows.integer(row, 3),
                  .time_min_us = rows.integer(row, 4),
                  .time_max_us = rows.integer(row, 5),
                  .shard = ShardId{static_cast<std::uint64_t>(rows.integer(row, 6))},
                  .position_begin = Position{static_cast<std::uint64_t>(rows.integer(row, 7))},
                  .position_end = Position{static_cast<std::uint64_t>(rows.integer(row, 8))},
                  .fields = {},
                  .zone_maps = {},
                  .format_version = static_cast<std::int32_t>(rows.integer(row, 10)),
                  .sort_order = rows.take_text(row, 11),
                  .added_version = rows.integer(row, 12)};
    if (auto decoded = decode_statistics(rows.text(row, 9), part); !decoded) {
        return std::move(decoded).error().wrap(fmt::format("part {}", part.id));
    }
    return part;
}

Result<> add_objects(std::vector<PartInfo>& parts, SqlRows& objects) {
    std::unordered_map<std::string_view, PartInfo*> by_id;
    by_id.reserve(parts.size());
    for (auto& part : parts) {
        by_id[part.id] = &part;
    }
    for (std::size_t row = 0; row < objects.size(); ++row) {
        const auto found = by_id.find(objects.text(row, 0));
        if (found == by_id.end()) {
            continue;  // Of a part beyond the caller's limit.
        }
        found->second->objects.push_back(
            {.kind = objects.take_text(row, 1),
             .key = objects.take_text(row, 2),
             .bytes = objects.integer(row, 3),
             .xxh3 = static_cast<std::uint64_t>(objects.integer(row, 4))});
    }
    return {};
}

Result<ShardInfo> read_shard(SqlRows& rows, std::size_t row) {
    const auto state = rows.integer(row, 3);
    if (state < static_cast<int>(ShardState::kOpen) ||
        state > static_cast<int>(ShardState::kDeleted)) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("shard {}: state {} is unknown", rows.integer(row, 0), state));
    }
    return ShardInfo{.id = ShardId{static_cast<std::uint64_t>(rows.integer(row, 0))},
                     .stream = StreamId{rows.take_text(row, 1)},
                     .owner = rows.take_text(row, 6),
                     .epoch = Epoch{static_cast<std::uint64_t>(rows.integer(row, 2))},
                     .state = static_cast<ShardState>(state),
                     .checkpoint = Position{static_cast<std::uint64_t>(rows.integer(row, 4))},
                     .last_flush_id = rows.take_text(row, 5)};
}

Result<std::vector<StreamInfo>> SqlCatalogue::list_streams(const RequestContext& context,
                                                           const OrgId& org) {
    MS_TRY(auto rows,
           read(context,
                "list streams",
                fmt::format("SELECT {} FROM streams WHERE org_id = $1 AND {}"
                            " ORDER BY stream_type, name",
                            kStreamColumns,
                            kStreamLive),
                {org.value}));
    std::vector<StreamInfo> streams;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        MS_TRY(auto info, read_stream(rows, row));
        streams.push_back(std::move(info));
    }
    return streams;
}

Result<std::optional<StreamInfo>> SqlCatalogue::find_stream(const RequestContext& context,
                                                            const OrgId& org,
                                                            StreamType type,
                                                            std::string_view name) {
    if (!check_stream_name(name)) {
        return std::optional<StreamInfo>();
    }
    MS_TRY(auto rows,
           read(context,
                "find a stream",
                fmt::format("SELECT {} FROM streams WHERE org_id = $1 AND name = $2"
                            " AND stream_type = $3 AND {}",
                            kStreamColumns,
                            kStreamLive),
                {org.value, name, stream_type_name(type)}));
    return read_optional_stream(rows);
}

Result<std::optional<StreamInfo>> SqlCatalogue::get_stream(const RequestContext& context,
                                                           const OrgId& org,
                                                           const StreamId& id) {
    MS_TRY(auto rows,
           read(context,
                "get a stream",
                fmt::format("SELECT {} FROM streams WHERE id = $1 AND org_id = $2 AND {}",
                            kStreamColumns,
                            kStreamLive),
                {id.value, org.value}));
    return read_optional_stream(rows);
}

Result<StreamInfo> SqlCatalogue::ensure_stream(const RequestContext& context,
                                               const OrgId& org,
                                               StreamType type,
                                               std::string_view name,
                                               std::int64_t streams_max) {
    MS_TRY_VOID(check_stream_name(name));
    MS_TRY(auto found, find_stream(context, org, type, name));
    if (found.has_value()) {
        return *std::move(found);
    }
    const auto id = make_ulid(clock_.now(), random_);
    const auto insert = [&](SqlConnection& connection) -> Result<> {
        // Locked, so that two new streams at once cannot both be the last one below the limit.
        MS_TRY(const auto locked, connection.query(context, lock_organization_sql_, {org.value}));
        if (locked.empty()) {
            return Error(ErrorCode::kNotFound, "the organisation does not exist");
        }
        const auto select = fmt::format(
            "SELECT {} FROM streams WHERE org_id = $1 AND name = $2 AND stream_type = $3 AND {}",
            kStreamColumns,
            kStreamLive);
        const SqlParameters key{org.value, name, stream_type_name(type)};
        MS_TRY(auto rows, connection.query(context, select, key));
        if (rows.empty()) {
            MS_TRY(const auto count,
                   connection.query(context,
                                    fmt::format("SELECT COUNT(*) FROM streams"
                                                " WHERE org_id = $1 AND {}",
                                                kStreamLive),
                                    {org.value}));
            if (count.integer(0, 0) >= streams_max) {
                return Error(ErrorCode::kLimitReached,
                             fmt::format("the organisation has {} streams; the limit is {} "
                                         "(ingester.streams_max)",
                                         count.integer(0, 0),
                                         streams_max));
            }
            MS_TRY_VOID(connection.query(
                context,
                "INSERT INTO streams (id, org_id, name, stream_type, settings, version,"
                " created_at_micros, updated_at_micros) VALUES ($1, $2, $3, $4, $5, 0, $6, $6)",
                {id, org.value, name, stream_type_name(type), encode_settings({}), now_us()}));
            MS_TRY(rows, connection.query(context, select, key));
        }
        MS_TRY(found, read_optional_stream(rows));
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "make a stream", insert));
    if (!found.has_value()) {
        return Error(ErrorCode::kInternal, "the stream vanished while it was made");
    }
    return *std::move(found);
}

Result<> SqlCatalogue::update_stream_settings(const RequestContext& context,
                                              const OrgId& org,
                                              const StreamId& id,
                                              const StreamSettings& expected,
                                              const StreamSettings& settings) {
    const auto encoded = encode_settings(settings);
    if (!decode_settings(encoded)) {
        return Error(ErrorCode::kInvalidArgument, "a field name in the settings is not UTF-8");
    }
    const auto update = [&](SqlConnection& connection) -> Result<> {
        MS_TRY_VOID(lock_stream(context, connection, id));
        MS_TRY(auto rows,
               connection.query(context,
                                "SELECT settings FROM streams WHERE id = $1 AND org_id = $2",
                                {id.value, org.value}));
        if (rows.empty()) {
            return stream_missing();
        }
        MS_TRY(const auto current, decode_settings(rows.text(0, 0)));
        if (current != expected) {
            return Error(ErrorCode::kConflict,
                         "the stream's settings were changed by somebody else meanwhile");
        }
        MS_TRY_VOID(connection.query(
            context,
            "UPDATE streams SET settings = $2, updated_at_micros = $3 WHERE id = $1",
            {id.value, encoded, now_us()}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "change a stream's settings", update);
}

Result<> SqlCatalogue::delete_stream(const RequestContext& context,
                                     const OrgId& org,
                                     const StreamId& id) {
    const auto remove = [&](SqlConnection& connection) -> Result<> {
        // The row stays: its parts, shards and fields name it, and a name may come back.
        MS_TRY(auto rows,
               connection.query(context,
                                fmt::format("UPDATE streams SET deleted_at_micros = $3,"
                                            " updated_at_micros = $3, version = version + 1"
                                            " WHERE id = $1 AND org_id = $2 AND {}"
                                            " RETURNING version",
                                            kStreamLive),
                                {id.value, org.value, now_us()}));
        if (rows.empty()) {
            return stream_missing();
        }
        MS_TRY_VOID(connection.query(context, delete_parts_sql_, {rows.integer(0, 0), id.value}));
        MS_TRY_VOID(connection.query(context, delete_id_packs_sql_, {id.value}));
        MS_TRY_VOID(
            connection.query(context,
                             fmt::format("UPDATE shards SET state = 3, deleted_at_micros = {}"
                                         " WHERE stream_id = $1 AND state < 3",
                                         database_.dialect.now_us),
                             {id.value}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "delete a stream", remove);
}

Result<StreamTotals> SqlCatalogue::stream_totals(const RequestContext& context,
                                                 const StreamId& id) {
    // CAST: Postgres sums BIGINT into NUMERIC.
    MS_TRY(const auto rows,
           read(context,
                "sum a stream's parts",
                "SELECT CAST(COALESCE(SUM(parts), 0) AS BIGINT),"
                " CAST(COALESCE(SUM(rows), 0) AS BIGINT),"
                " CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT),"
                " CAST(COALESCE(SUM(raw_bytes), 0) AS BIGINT),"
                " COALESCE(MIN(begins), 0), COALESCE(MAX(ends), 0) FROM"
                " (SELECT 1 AS parts, rows, size_bytes, raw_bytes, time_start_micros AS begins,"
                " time_end_micros AS ends FROM parquet_file_meta"
                " WHERE stream_id = $1 AND NOT deleted UNION ALL"
                " SELECT rows_in_dump, rows_total, storage_size_bytes, raw_size_bytes,"
                " min_ts_micros, max_ts_micros FROM parquet_file_meta_dump"
                " WHERE stream_id = $1 AND NOT deleted) AS all_parts",
                {id.value}));
    return StreamTotals{.parts = rows.integer(0, 0),
                        .rows = rows.integer(0, 1),
                        .bytes = rows.integer(0, 2),
                        .raw_bytes = rows.integer(0, 3),
                        .time_min_us = rows.integer(0, 4),
                        .time_max_us = rows.integer(0, 5)};
}

Result<std::int64_t> SqlCatalogue::purge_streams(const RequestContext& context,
                                                 std::int64_t grace_us,
                                                 std::int64_t streams_max) {
    // Most rounds find nothing; they do not take the write lock.
    MS_TRY(
        const auto found,
        read(
            context, "look for deleted streams", purged_streams_sql_, {grace_us, std::int64_t{1}}));
    if (found.empty()) {
        return 0;
    }
    std::int64_t purged = 0;
    const auto forget = [&](SqlConnection& connection) -> Result<> {
        purged = 0;
        MS_TRY(const auto rows,
               connection.query(context, purged_streams_sql_, {grace_us, streams_max}));
        for (std::size_t row = 0; row < rows.size(); ++row) {
            const auto& id = rows.text(row, 0);
            // No new shard or intent names a deleted stream, so what was looked at stays true.
            MS_TRY_VOID(
                connection.query(context, "DELETE FROM stream_fields WHERE stream_id = $1", {id}));
            MS_TRY(const auto forgotten,
                   connection.query(context,
                                    "DELETE FROM streams WHERE id = $1 AND NOT EXISTS"
                                    " (SELECT 1 FROM shards WHERE stream_id = $1)",
                                    {id}));
            if (forgotten.changed() > 0) {
                MS_TRY_VOID(forget_leases(context, connection, id));
            }
            ++purged;
        }
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "forget deleted streams", forget));
    return purged;
}

Result<> SqlCatalogue::lock_stream(const RequestContext& context,
                                   SqlConnection& connection,
                                   const StreamId& stream) {
    MS_TRY(const auto rows, connection.query(context, lock_stream_sql_, {stream.value}));
    if (rows.empty() || !rows.is_null(0, 0)) {
        return stream_missing();
    }
    return {};
}

Result<std::int64_t> SqlCatalogue::next_version(const RequestContext& context,
                                                SqlConnection& connection,
                                                const StreamId& stream) {
    MS_TRY(
        const auto rows,
        connection.query(context,
                         "UPDATE streams SET version = version + 1 WHERE id = $1 RETURNING version",
                         {stream.value}));
    if (rows.empty()) {
        return stream_missing();
    }
    return rows.integer(0, 0);
}

Result<StreamSchema> SqlCatalogue::ensure_fields(const RequestContext& context,
                                                 const StreamId& stream,
                                                 const std::vector<NewField>& fields) {
    StreamSchema schema;
    bool found = false;
    const auto look = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(
                   context,
                   fmt::format("SELECT id FROM streams WHERE id = $1 AND {}", kStreamLive),
                   {stream.value}));
        found = !rows.empty();
        MS_TRY(schema, query_schema(context, connection, stream));
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kRead, "read a stream's fields", look));
    if (!found) {
        return stream_missing().wrap("assign field ids");
    }
    if (schema_covers(schema, fields)) {
        return schema;
    }
    const auto insert = [&](SqlConnection& connection) -> Result<> {
        MS_TRY_VOID(lock_stream(context, connection, stream));
        MS_TRY(const auto before, query_schema(context, connection, stream));
        MS_TRY_VOID(insert_missing_fields(context, connection, stream, before, fields));
        MS_TRY(schema, query_schema(context, connection, stream));
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "assign field ids", insert));
    return schema;
}

Result<StreamSnapshot> SqlCatalogue::snapshot(const RequestContext& context,
                                              const StreamId& stream,
                                              std::int64_t time_min_us,
                                              std::int64_t time_max_us,
                                              std::int64_t& parts_total) {
    MS_TRY(auto snapshot, table_snapshot(context, stream, time_min_us, time_max_us, parts_total));
    if (snapshot.dumps.empty()) {
        return snapshot;
    }
    // Outside of the transaction: objects do not change, and stay for longer than any query.
    MS_TRY(const auto lists, read_dumps(context, snapshot.dumps));
    for (const auto& list : lists) {
        add_parts(list, time_min_us, time_max_us, snapshot.parts);
    }
    std::ranges::sort(snapshot.parts, [](const PartInfo& a, const PartInfo& b) {
        return std::tie(a.time_max_us, a.id) > std::tie(b.time_max_us, b.id);
    });
    snapshot.dumps.clear();
    return snapshot;
}

Result<StreamSnapshot> SqlCatalogue::table_snapshot(const RequestContext& context,
                                                    const StreamId& stream,
                                                    std::int64_t time_min_us,
                                                    std::int64_t time_max_us,
                                                    std::int64_t& parts_total) {
    StreamSnapshot snapshot;
    const SqlParameters range{stream.value, time_min_us, time_max_us};
    const auto look = [&](SqlConnection& connection) -> Result<> {
        snapshot = StreamSnapshot{};
        MS_TRY(auto found,
               connection.query(
                   context,
                   fmt::format(
                       "SELECT {} FROM streams WHERE id = $1 AND {}", kStreamColumns, kStreamLive),
                   {stream.value}));
        if (found.empty()) {
            return stream_missing();
        }
        MS_TRY(snapshot.stream, read_stream(found, 0));
        MS_TRY(snapshot.schema, query_schema(context, connection, stream));
        MS_TRY(auto parts,
               connection.query(
                   context, fmt::format("SELECT {} {}", kPartColumns, kPartsInRange), range));
        MS_TRY(auto objects, connection.query(context, kObjectsInRange, range));
        MS_TRY(auto packs,
               connection.query(context,
                                fmt::format("SELECT {} FROM id_packs WHERE stream_id = $1"
                                            " AND NOT deleted AND time_end_micros >= $2"
                                            " AND time_start_micros <= $3 ORDER BY id",
                                            kIdPackColumns),
                                range));
        MS_TRY(auto dumps,
               connection.query(
                   context, fmt::format("SELECT {} {}", kDumpColumns, kDumpsInRange), range));
        MS_TRY(const auto total, connection.query(context, kPartsOfStream, {stream.value}));
        // 3 is ShardState::kDeleted; in the partial index's words.
        MS_TRY(auto shards,
               query_shards(context, connection, "stream_id = $1 AND state < 3", {stream.value}));
        snapshot.parts.reserve(parts.size());
        for (std::size_t row = 0; row < parts.size(); ++row) {
            MS_TRY(auto part, read_part(parts, row));
            snapshot.parts.push_back(std::move(part));
        }
        MS_TRY_VOID(add_objects(snapshot.parts, objects));
        snapshot.id_packs = read_id_packs(packs);
        for (std::size_t row = 0; row < dumps.size(); ++row) {
            snapshot.dumps.push_back(read_dump(dumps, row));
        }
        snapshot.shards = std::move(shards);
        parts_total = total.integer(0, 0);
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kRead, "take a snapshot of a stream", look));
    return snapshot;
}

}  // namespace molesignal
