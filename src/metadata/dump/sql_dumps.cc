// The verbs of SqlCatalogue about dumps: parts that an object lists instead of the table.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "metadata/row_codec.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_rows.h"

MS_DEFINE_FAILPOINT(catalogue_dump_part_moved);
MS_DEFINE_FAILPOINT(catalogue_dump_before_commit);
MS_DEFINE_FAILPOINT(catalogue_dump_after_commit);
MS_DEFINE_FAILPOINT(catalogue_dump_restore_before_commit);
MS_DEFINE_FAILPOINT(catalogue_dump_restore_after_commit);

namespace molesignal {
namespace {

Error invalid(const PartDump& dump, std::string_view what) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("part dump {}: {}", dump.id, what));
}

/// What the caller must get right, whatever the catalogue holds.
Result<> check_commit(const PartDumpCommit& commit) {
    const auto& dump = commit.dump;
    if (dump.id.empty() || commit.lease.name.empty() || commit.lease.holder.empty()) {
        return Error(ErrorCode::kInvalidArgument, "a part dump needs an id and a lease");
    }
    if (commit.moved.empty()) {
        return invalid(dump, "no part is moved");
    }
    std::set<std::string_view> ids;
    for (const auto& id : commit.moved) {
        if (!ids.insert(id).second) {
            return invalid(dump, fmt::format("part {} is moved twice", id));
        }
    }
    if (dump.level.empty() || dump.partition.empty() || dump.object.key.empty() ||
        dump.object.bytes <= 0) {
        return invalid(dump, "its partition or object is missing");
    }
    return {};
}

/// The columns that move_part_sql returns, added as a part's.
void add_row(const SqlRows& rows, PartDump& sums) {
    PartInfo part;
    part.rows = rows.integer(0, 0);
    part.objects.push_back({.kind = {}, .key = {}, .bytes = rows.integer(0, 1)});
    part.raw_bytes = rows.integer(0, 2);
    part.time_min_us = rows.integer(0, 3);
    part.time_max_us = rows.integer(0, 4);
    add_to_dump(sums, part);
}

/// `sums`, begun with those of the dump that is replaced or with nothing, are those of `dump`.
Result<> check_sums(const PartDump& dump, PartDump sums) {
    sums.id = dump.id;
    sums.stream = dump.stream;
    sums.level = dump.level;
    sums.partition = dump.partition;
    sums.object = dump.object;
    if (sums == dump) {
        return {};
    }
    return invalid(dump,
                   fmt::format("it has {} parts with {} rows, which are {} parts with {} rows, or "
                               "other sizes or times, in the catalogue",
                               dump.parts,
                               dump.rows,
                               sums.parts,
                               sums.rows));
}

}  // namespace

PartDump read_dump(SqlRows& rows, std::size_t row) {
    return PartDump{.id = rows.take_text(row, 0),
                    .stream = StreamId{rows.take_text(row, 1)},
                    .level = rows.take_text(row, 2),
                    .partition = rows.take_text(row, 3),
                    .object = {.kind = "parts",
                               .key = rows.take_text(row, 4),
                               .bytes = rows.integer(row, 5),
                               .xxh3 = static_cast<std::uint64_t>(rows.integer(row, 6))},
                    .parts = rows.integer(row, 7),
                    .rows = rows.integer(row, 8),
                    .part_bytes = rows.integer(row, 9),
                    .raw_bytes = rows.integer(row, 10),
                    .time_min_us = rows.integer(row, 11),
                    .time_max_us = rows.integer(row, 12),
                    .first_end_us = rows.integer(row, 13)};
}

Result<> SqlCatalogue::insert_dump(const RequestContext& context,
                                   SqlConnection& connection,
                                   const PartDump& dump) {
    MS_TRY_VOID(connection.query(
        context,
        fmt::format("INSERT INTO parquet_file_meta_dump ({}, created_at_micros, deleted)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
                    " FALSE)",
                    kDumpColumns),
        {dump.id,
         dump.stream.value,
         dump.level,
         dump.partition,
         dump.object.key,
         dump.object.bytes,
         dump.object.xxh3,
         dump.parts,
         dump.rows,
         dump.part_bytes,
         dump.raw_bytes,
         dump.time_min_us,
         dump.time_max_us,
         dump.first_end_us,
         now_us()}));
    return {};
}

Result<std::optional<PartDump>> SqlCatalogue::remove_dump(const RequestContext& context,
                                                          SqlConnection& connection,
                                                          std::string_view id) {
    const auto remove = fmt::format(
        "UPDATE parquet_file_meta_dump SET deleted = TRUE, removed_at_micros = {}"
        " WHERE id = $1 AND NOT deleted RETURNING {}",
        database_.dialect.now_us,
        kDumpColumns);
    MS_TRY(auto rows, connection.query(context, remove, {id}));
    return rows.empty() ? std::nullopt : std::optional(read_dump(rows, 0));
}

Result<> SqlCatalogue::move_to_dump(const RequestContext& context,
                                    SqlConnection& connection,
                                    const PartDumpCommit& commit) {
    const auto& dump = commit.dump;
    MS_TRY(const auto names,
           consume_intent(context, connection, dump.id, dump.stream, commit.lease));
    PartInfo named;
    named.objects.push_back(dump.object);
    MS_TRY_VOID(check_named({named}, names, fmt::format("part dump {}", dump.id)));
    PartDump sums;
    if (!commit.replaced.empty()) {
        MS_TRY(const auto replaced, remove_dump(context, connection, commit.replaced));
        if (!replaced.has_value() || replaced->stream != dump.stream ||
            replaced->level != dump.level || replaced->partition != dump.partition) {
            return Error(ErrorCode::kConflict,
                         fmt::format("{} is not the live part dump of {} any more",
                                     commit.replaced,
                                     dump.partition));
        }
        sums = *replaced;
    }
    for (const auto& id : commit.moved) {
        // Objects first: they name the part.
        MS_TRY_VOID(connection.query(context, "DELETE FROM part_objects WHERE part_id = $1", {id}));
        MS_TRY(const auto rows,
               connection.query(context,
                                "DELETE FROM parquet_file_meta WHERE id = $1 AND stream_id = $2"
                                " AND NOT deleted RETURNING rows, size_bytes, raw_bytes,"
                                " time_start_micros, time_end_micros",
                                {id, dump.stream.value}));
        if (rows.size() != 1) {
            return Error(ErrorCode::kConflict,
                         fmt::format("part {} is not a live part of the stream any more", id));
        }
        add_row(rows, sums);
        MS_PASS_FAILPOINT(catalogue_dump_part_moved);
    }
    MS_TRY_VOID(check_sums(dump, std::move(sums)));
    MS_TRY_VOID(insert_dump(context, connection, dump));
    MS_PASS_FAILPOINT(catalogue_dump_before_commit);
    return {};
}

Result<> SqlCatalogue::commit_part_dump(const RequestContext& context,
                                        const PartDumpCommit& commit) {
    MS_TRY_VOID(check_commit(commit));
    const auto& dump = commit.dump;
    const auto apply = [&](SqlConnection& connection) -> Result<> {
        auto locked = lock_stream(context, connection, dump.stream);
        if (!locked && locked.error().code() != ErrorCode::kNotFound) {
            return locked;
        }
        MS_TRY(const auto lease, connection.query(context, lock_lease_sql_, {commit.lease.name}));
        MS_TRY(const auto intent,
               connection.query(context, lock_compaction_intent_sql_, {dump.id}));
        if (intent.empty()) {
            // If it is committed, the answer was lost.
            MS_TRY(const auto known,
                   connection.query(context,
                                    "SELECT id FROM parquet_file_meta_dump WHERE id = $1"
                                    " AND stream_id = $2",
                                    {dump.id, dump.stream.value}));
            return known.empty() ? compaction_intent_gone(dump.id, "gone") : Result<>();
        }
        if (!locked) {
            return Error(
                ErrorCode::kConflict,
                fmt::format("stream {} is deleted: its parts are not dumped", dump.stream.value));
        }
        MS_TRY_VOID(check_lease(lease, commit.lease));
        return move_to_dump(context, connection, commit);
    };
    MS_TRY_VOID(
        transact(context, SqlAccess::kWrite, fmt::format("commit part dump {}", dump.id), apply));
    MS_PASS_FAILPOINT(catalogue_dump_after_commit);
    return {};
}

Result<> SqlCatalogue::restore_part_dump(const RequestContext& context, std::string_view id) {
    MS_TRY(auto found,
           read(context,
                "find a part dump",
                fmt::format("SELECT {}, deleted FROM parquet_file_meta_dump WHERE id = $1",
                            kDumpColumns),
                {id}));
    if (found.empty()) {
        return Error(ErrorCode::kNotFound, fmt::format("there is no part dump {}", id));
    }
    constexpr std::size_t kDeleted = 14;
    if (found.integer(0, kDeleted) != 0) {
        return {};
    }
    const auto dump = read_dump(found, 0);
    MS_TRY(const auto parts, read_part_dump(context, dump));
    const auto restore = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto stream, connection.query(context, lock_stream_sql_, {dump.stream.value}));
        MS_TRY(const auto removed, remove_dump(context, connection, dump.id));
        if (!removed.has_value()) {
            return {};
        }
        for (const auto& part : *parts) {
            MS_TRY_VOID(insert_part(context, connection, part, part.added_version));
        }
        if (stream.empty() || !stream.is_null(0, 0)) {
            // They count as removed from now on: so their objects stay for the longest query.
            MS_TRY(const auto version, next_version(context, connection, dump.stream));
            MS_TRY_VOID(connection.query(context, delete_parts_sql_, {version, dump.stream.value}));
        }
        MS_PASS_FAILPOINT(catalogue_dump_restore_before_commit);
        return {};
    };
    MS_TRY_VOID(transact(
        context, SqlAccess::kWrite, fmt::format("restore part dump {}", dump.id), restore));
    MS_PASS_FAILPOINT(catalogue_dump_restore_after_commit);
    return {};
}

Result<std::vector<PartDump>> SqlCatalogue::list_part_dumps(const RequestContext& context,
                                                            const PartDumpQuery& query) {
    auto sql = fmt::format(
        "SELECT {} FROM parquet_file_meta_dump WHERE NOT deleted AND id > $1"
        " AND first_end_micros < $2",
        kDumpColumns);
    SqlParameters parameters{query.after, query.ended_before_us, query.dumps_max};
    if (query.stream.has_value()) {
        sql += " AND stream_id = $4";
        parameters.emplace_back(query.stream->value);
    }
    if (query.of_deleted_streams) {
        sql +=
            " AND stream_id IN (SELECT s.id FROM streams s WHERE s.deleted_at_micros IS NOT"
            " NULL)";
    }
    MS_TRY(auto rows, read(context, "list part dumps", sql + " ORDER BY id LIMIT $3", parameters));
    std::vector<PartDump> dumps;
    dumps.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        dumps.push_back(read_dump(rows, row));
    }
    return dumps;
}

Result<std::vector<PartList>> SqlCatalogue::read_dumps(const RequestContext& context,
                                                       std::span<const PartDump> dumps) {
    if (dump_reader_ == nullptr) {
        return Error(ErrorCode::kInternal,
                     fmt::format("the parts of {} are in an object ({}), and nothing was given to "
                                 "read it",
                                 dumps.front().partition,
                                 dumps.front().object.key));
    }
    return dump_reader_->read(context, dumps);
}

Result<PartList> SqlCatalogue::read_part_dump(const RequestContext& context, const PartDump& dump) {
    MS_TRY(auto lists, read_dumps(context, std::span(&dump, 1)));
    return std::move(lists.front());
}

Result<std::vector<PartDump>> SqlCatalogue::list_removed_part_dumps(const RequestContext& context,
                                                                    std::int64_t grace_us,
                                                                    std::int64_t dumps_max) {
    const auto select = fmt::format(
        "SELECT {} FROM parquet_file_meta_dump WHERE deleted"
        " AND removed_at_micros <= {} - $1 ORDER BY removed_at_micros, id LIMIT $2",
        kDumpColumns,
        database_.dialect.now_us);
    MS_TRY(auto rows, read(context, "list removed part dumps", select, {grace_us, dumps_max}));
    std::vector<PartDump> dumps;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        dumps.push_back(read_dump(rows, row));
    }
    return dumps;
}

Result<> SqlCatalogue::purge_part_dump(const RequestContext& context, std::string_view id) {
    const auto purge = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(
                   context, "SELECT deleted FROM parquet_file_meta_dump WHERE id = $1", {id}));
        if (rows.empty()) {
            return {};
        }
        if (rows.integer(0, 0) == 0) {
            return Error(ErrorCode::kConflict, fmt::format("part dump {} is not removed", id));
        }
        MS_TRY_VOID(
            connection.query(context, "DELETE FROM parquet_file_meta_dump WHERE id = $1", {id}));
        return {};
    };
    return transact(context, SqlAccess::kWrite, "forget a part dump", purge);
}

}  // namespace molesignal
