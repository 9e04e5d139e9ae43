#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/request_context.h"
#include "common/result.h"
#include "metadata/shard_info.h"
#include "metadata/stream_info.h"
#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

/// One object of a part.
struct PartObject {
    std::string kind;  ///< "parquet"; later "index" and others.
    std::string key;
    std::int64_t bytes = 0;
    std::uint64_t xxh3 = 0;  ///< XXH3-64 of the whole object.
};

/// The smallest and largest value of one field in a part, rounded outward. Numbers by value,
/// strings by their first 64 bytes (the maximum incremented when cut).
struct ZoneMap {
    FieldId field;
    std::string min;  ///< Canonical text: decimal for numbers, the bytes themselves for strings.
    std::string max;
    std::int64_t null_count = 0;
};

/// Where a row group lies in the part's Parquet object; groups follow each other from its start.
struct RowGroupInfo {
    std::int64_t rows = 0;
    std::int64_t byte_end = 0;  ///< One past its last byte.
    friend bool operator==(const RowGroupInfo&, const RowGroupInfo&) = default;
};

/// An immutable set of rows in the object store.
struct PartInfo {
    std::string id;  ///< ULID.
    StreamId stream;
    std::vector<PartObject> objects;
    std::int64_t rows = 0;
    std::int64_t raw_bytes = 0;
    std::int64_t time_min_us = 0;  ///< Rounded down.
    std::int64_t time_max_us = 0;  ///< Rounded up; inclusive.
    ShardId shard;
    Position position_begin;  ///< Smallest position in the part.
    Position position_end;  ///< One past the largest. A flush's parts may share a range: they split
                            ///< it by time.
    std::vector<FieldId> fields;  ///< The columns that the part has.
    std::vector<ZoneMap> zone_maps;
    std::vector<RowGroupInfo> row_groups;  ///< In file order.
    std::uint64_t footer_xxh3 = 0;         ///< Of the Parquet object's footer; 0: of an older part.
    std::int32_t format_version = 1;
    std::string sort_order;          ///< For people and planners: "service,_timestamp".
    std::int64_t added_version = 0;  ///< Set by commit.
};

/// A field that a flush found and the stream does not have yet, or whose exactness changed.
struct NewField {
    std::string name;
    FieldType type = FieldType::kString;
    bool inexact_as_float = false;
};

struct FlushCommit {
    std::string flush_id;
    ShardId shard;
    Epoch epoch;
    Position expected_checkpoint;  ///< Must be the shard's checkpoint now.
    Position new_checkpoint;
    std::vector<PartInfo> parts;
};

/// One consistent read of a stream: its schema, its parts, each shard's checkpoint.
struct StreamSnapshot {
    StreamInfo stream;
    StreamSchema schema;
    std::vector<PartInfo> parts;  ///< Newest first by time_max.
    std::vector<ShardInfo> shards;
};

struct ApiToken {
    std::string id;  ///< ULID.
    OrgId org;
    std::string name;
    std::string prefix;  ///< The public part of `ms_<prefix>_<secret>`.
    std::string secret_sha256_hex;
    std::vector<std::string> permissions;  ///< "ingest", "query", "admin".
    std::int64_t created_us = 0;
    std::optional<std::int64_t> expires_us;
    std::optional<std::int64_t> revoked_us;
};

struct Lease {
    std::string name;
    std::string holder;
    Epoch epoch;                  ///< Grows with every change of holder.
    std::int64_t expires_us = 0;  ///< By the database's clock.
};

/// The metadata database. Implemented on SQLite and Postgres.
///
/// Every verb is one transaction: it happened wholly or not at all. kUnavailable after a commit
/// verb: it may or may not have happened; `commit_flush` with the same flush id tells. kConflict:
/// the state is not what the caller expects (another writer, an old epoch); do not retry.
/// Thread-safe.
class Catalogue {
public:
    virtual ~Catalogue() = default;

    /// Brings the tables to this program's version. Safe to run by several processes at once and to
    /// run again after a crash at any step. kConflict: the database is of a newer version.
    virtual Result<> migrate(const RequestContext& context) = 0;
    /// A cheap round trip, for probes.
    virtual Result<> ping(const RequestContext& context) = 0;

    virtual Result<std::vector<Organization>> list_organizations(const RequestContext& context) = 0;
    /// The organisation with `slug`, made if missing.
    virtual Result<Organization> ensure_organization(const RequestContext& context,
                                                     std::string_view slug) = 0;

    virtual Result<std::vector<StreamInfo>> list_streams(const RequestContext& context,
                                                         const OrgId& org) = 0;
    virtual Result<std::optional<StreamInfo>> find_stream(const RequestContext& context,
                                                          const OrgId& org,
                                                          StreamType type,
                                                          std::string_view name) = 0;
    virtual Result<std::optional<StreamInfo>> get_stream(const RequestContext& context,
                                                         const OrgId& org,
                                                         const StreamId& id) = 0;
    /// The stream, made if missing; kLimitReached above `streams_max` streams of the
    /// organisation.
    virtual Result<StreamInfo> ensure_stream(const RequestContext& context,
                                             const OrgId& org,
                                             StreamType type,
                                             std::string_view name,
                                             std::int64_t streams_max) = 0;
    /// Replaces the settings that the caller has read. kConflict: they are not `expected` any more;
    /// read them again.
    virtual Result<> update_stream_settings(const RequestContext& context,
                                            const OrgId& org,
                                            const StreamId& id,
                                            const StreamSettings& expected,
                                            const StreamSettings& settings) = 0;
    /// Removes the stream and marks all its parts removed (their objects follow by retention).
    virtual Result<> delete_stream(const RequestContext& context,
                                   const OrgId& org,
                                   const StreamId& id) = 0;
    virtual Result<StreamTotals> stream_totals(const RequestContext& context,
                                               const StreamId& id) = 0;
    /// Forgets what streams that were deleted more than `grace_us` ago have left: their fields,
    /// once their last part is gone, and the stream, once its last shard is. Returns how many
    /// streams it changed (at most `streams_max`).
    virtual Result<std::int64_t> purge_streams(const RequestContext& context,
                                               std::int64_t grace_us,
                                               std::int64_t streams_max) = 0;

    /// Gives ids to fields that the stream does not have; sets inexact_as_float where it became
    /// true. Returns the whole schema after. Safe to repeat.
    virtual Result<StreamSchema> ensure_fields(const RequestContext& context,
                                               const StreamId& stream,
                                               const std::vector<NewField>& fields) = 0;
    /// The snapshot of design §5.3: one statement or one repeatable-read transaction. Parts outside
    /// [time_min_us, time_max_us] (inclusive) are left out; `parts_total` counts them too.
    virtual Result<StreamSnapshot> snapshot(const RequestContext& context,
                                            const StreamId& stream,
                                            std::int64_t time_min_us,
                                            std::int64_t time_max_us,
                                            std::int64_t& parts_total) = 0;

    /// A new open shard of the stream with epoch 1 and checkpoint 0.
    virtual Result<ShardInfo> create_shard(const RequestContext& context,
                                           const StreamId& stream,
                                           std::string_view owner) = 0;
    /// The log `owner` starts, with queues for the shards of `tails` up to these positions. Counts
    /// the epoch of all its live shards and closes them: what an earlier process of it still has on
    /// its way has committed by then, or never will. One without owner becomes its own; one that
    /// was deleted lives again if the log has rows of it above the checkpoint. Returns the live
    /// ones and all of `tails` that exist, also those of other owners, which stay as they are.
    virtual Result<std::vector<ShardInfo>> claim_shards(
        const RequestContext& context,
        std::string_view owner,
        const std::vector<std::pair<ShardId, Position>>& tails) = 0;
    /// Marks shards of `owner` as deleted: all their rows are in parts or gone with their stream.
    virtual Result<> delete_shards(const RequestContext& context,
                                   std::string_view owner,
                                   const std::vector<ShardId>& ids) = 0;
    /// Forgets shards that were deleted more than `age_us` ago; returns how many.
    virtual Result<std::int64_t> purge_shards(const RequestContext& context,
                                              std::int64_t age_us) = 0;
    virtual Result<std::optional<ShardInfo>> get_shard(const RequestContext& context,
                                                       ShardId id) = 0;
    virtual Result<std::vector<ShardInfo>> list_live_shards(const RequestContext& context) = 0;
    virtual Result<> set_shard_state(const RequestContext& context,
                                     ShardId id,
                                     Epoch epoch,
                                     ShardState state) = 0;

    /// Records the intent. Repeating it with the same flush id and the same content is fine.
    virtual Result<> add_flush_intent(const RequestContext& context, const FlushIntent& intent) = 0;
    /// Step 5 of design §5.3 in one transaction: consumes the intent (exactly one row), inserts the
    /// part rows, moves the checkpoint from exactly the old value to the new, checks the epoch,
    /// counts the stream's version. If `last_flush_id` is already this flush, answers success
    /// without doing it again: that is how a lost COMMIT answer is resolved.
    virtual Result<> commit_flush(const RequestContext& context, const FlushCommit& commit) = 0;
    virtual Result<std::vector<FlushIntent>> list_flush_intents(const RequestContext& context) = 0;
    /// Marks the intent abandoned, so that it can no longer commit; then its objects may be
    /// deleted, then `remove_flush_intent`. kConflict if it was consumed.
    virtual Result<> abandon_flush_intent(const RequestContext& context,
                                          std::string_view flush_id) = 0;
    virtual Result<> remove_flush_intent(const RequestContext& context,
                                         std::string_view flush_id) = 0;

    /// How many live parts the stream has, and how many of them expire_parts would mark.
    virtual Result<PartCounts> count_parts(const RequestContext& context,
                                           const StreamId& stream,
                                           std::int64_t time_max_before_us) = 0;
    /// Marks live parts whose newest row is older than `time_max_before_us` as removed now; returns
    /// how many (at most `parts_max`).
    virtual Result<std::int64_t> expire_parts(const RequestContext& context,
                                              const StreamId& stream,
                                              std::int64_t time_max_before_us,
                                              std::int64_t parts_max) = 0;
    /// Parts removed more than `grace_us` ago (database clock) whose objects may go.
    virtual Result<std::vector<PartInfo>> list_removed_parts(const RequestContext& context,
                                                             std::int64_t grace_us,
                                                             std::int64_t parts_max) = 0;
    /// Forgets a removed part whose objects are gone.
    virtual Result<> purge_part(const RequestContext& context, std::string_view part_id) = 0;

    virtual Result<> add_token(const RequestContext& context, const ApiToken& token) = 0;
    virtual Result<std::vector<ApiToken>> list_tokens(const RequestContext& context,
                                                      const OrgId& org) = 0;
    virtual Result<std::optional<ApiToken>> find_token(const RequestContext& context,
                                                       std::string_view prefix) = 0;
    virtual Result<> revoke_token(const RequestContext& context,
                                  const OrgId& org,
                                  std::string_view id) = 0;

    /// Takes or renews the lease for `ttl_us`, also from a holder whose name begins with
    /// `replaces`, if that is not empty. kConflict: somebody else holds it.
    virtual Result<Lease> acquire_lease(const RequestContext& context,
                                        std::string_view name,
                                        std::string_view holder,
                                        std::int64_t ttl_us,
                                        std::string_view replaces) = 0;
    virtual Result<> release_lease(const RequestContext& context, const Lease& lease) = 0;

    /// "sqlite ./data/meta.db", "postgres host/db": for people, without secrets.
    virtual std::string describe() const = 0;

    /// Live parts of all streams whose id is greater than `after`, by id; at most `parts_max`.
    virtual Result<std::vector<PartInfo>> list_parts(const RequestContext& context,
                                                     std::string_view after,
                                                     std::int64_t parts_max) = 0;
    /// What the database itself finds wrong with its tables and indexes, one a line (at most 20);
    /// reads all of it. Postgres is asked nothing: its own checksums and tools do that.
    virtual Result<std::vector<std::string>> check_integrity(const RequestContext& context) = 0;
};

}  // namespace molesignal
