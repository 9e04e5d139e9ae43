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
#include "metadata/dump/part_dump.h"
#include "metadata/lease.h"
#include "metadata/part_info.h"
#include "metadata/shard_info.h"
#include "metadata/stream_info.h"
#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

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
    std::vector<IdPackInfo> id_packs;
    std::vector<ShardInfo> shards;
    std::vector<PartDump> dumps;  ///< Of `table_snapshot`: those of the time range.
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

struct CompactionCommit {
    std::string compaction_id;
    StreamId stream;
    Lease lease;                        ///< Name, holder and epoch as acquired.
    std::vector<std::string> replaced;  ///< Ids of the parts that go.
    std::vector<PartInfo> parts;        ///< What takes their place: the same rows.
};

struct IdPackCommit {
    std::string compaction_id;  ///< Of the intent that names the pack's object.
    StreamId stream;
    Lease lease;                        ///< Name, holder and epoch as acquired.
    std::vector<std::string> replaced;  ///< Ids of packs that go.
    std::optional<IdPackInfo> pack;     ///< What is new; without it no intent is needed.
};

/// The metadata database. Implemented on SQLite and Postgres.
///
/// Every verb is one transaction: it happened wholly or not at all. kUnavailable after a commit
/// verb: it may or may not have happened; the same `commit_flush` or `commit_compaction` again
/// tells. kConflict: the state is not what the caller expects (another writer, an old epoch); do
/// not retry. Thread-safe.
class Catalogue : public PartDumpCatalogue {
public:
    ~Catalogue() override = default;

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
    /// Removes the stream and marks all its parts and packs removed (their objects follow by
    /// retention, which first brings those of dumps back into the table).
    virtual Result<> delete_stream(const RequestContext& context,
                                   const OrgId& org,
                                   const StreamId& id) = 0;
    virtual Result<StreamTotals> stream_totals(const RequestContext& context,
                                               const StreamId& id) = 0;
    /// Forgets what streams that were deleted more than `grace_us` ago have left: their fields,
    /// once their last part is gone, and the stream with its leases (`compaction/<stream id>/…`),
    /// once its last shard is. Returns how many streams it changed (at most `streams_max`).
    virtual Result<std::int64_t> purge_streams(const RequestContext& context,
                                               std::int64_t grace_us,
                                               std::int64_t streams_max) = 0;

    /// Gives ids to fields that the stream does not have; sets inexact_as_float where it became
    /// true. Returns the whole schema after. Safe to repeat.
    virtual Result<StreamSchema> ensure_fields(const RequestContext& context,
                                               const StreamId& stream,
                                               const std::vector<NewField>& fields) = 0;
    /// The snapshot of design §5.3: one statement or one repeatable-read transaction. Parts outside
    /// [time_min_us, time_max_us] (inclusive) are left out, and packs; `parts_total` counts the
    /// parts too. Parts that dumps list are there like all others; kCorruption: such a dump is
    /// damaged.
    virtual Result<StreamSnapshot> snapshot(const RequestContext& context,
                                            const StreamId& stream,
                                            std::int64_t time_min_us,
                                            std::int64_t time_max_us,
                                            std::int64_t& parts_total) = 0;
    /// The same, of the table's parts only, with the dumps instead of their parts: for those who
    /// change parts.
    virtual Result<StreamSnapshot> table_snapshot(const RequestContext& context,
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

    /// Records the intent. Repeating it with the same content is fine. kConflict: the lease has
    /// another epoch or nobody holds it, the stream is deleted, the id is taken by other content,
    /// or the compaction was abandoned or committed: a part has one of the objects.
    virtual Result<> add_compaction_intent(const RequestContext& context,
                                           const CompactionIntent& intent) = 0;
    /// Swaps parts for others with the same rows in one transaction: consumes the intent (exactly
    /// one row), counts the stream's version, removes the replaced parts and adds the new ones in
    /// that version. If the intent is gone and the new parts are known (live or removed since),
    /// answers success without doing it again: that is how a lost COMMIT answer is resolved.
    ///
    /// kConflict, and nothing happened: the lease was taken or released (its expiry does not
    /// matter: nobody took it while the epoch stands), the intent is abandoned or gone, a replaced
    /// part is not live any more, the stream is deleted. kInvalidArgument: the new parts have fewer
    /// or more rows than the replaced, or do not cover their times and positions, or an object that
    /// the intent does not name.
    virtual Result<> commit_compaction(const RequestContext& context,
                                       const CompactionCommit& commit) = 0;
    /// Adds a pack of ids and removes others, in one transaction. Their parts need not be live.
    /// Repeating it when it has happened is fine. kConflict, and nothing happened: as of
    /// commit_compaction, for packs instead of parts.
    virtual Result<> commit_id_pack(const RequestContext& context, const IdPackCommit& commit) = 0;
    /// Live packs of all streams whose id is greater than `after`, by id; at most `packs_max`.
    virtual Result<std::vector<IdPackInfo>> list_id_packs(const RequestContext& context,
                                                          std::string_view after,
                                                          std::int64_t packs_max) = 0;
    /// Packs removed more than `grace_us` ago (database clock) whose objects may go.
    virtual Result<std::vector<IdPackInfo>> list_removed_id_packs(const RequestContext& context,
                                                                  std::int64_t grace_us,
                                                                  std::int64_t packs_max) = 0;
    /// Forgets a removed pack whose object is gone.
    virtual Result<> purge_id_pack(const RequestContext& context, std::string_view pack_id) = 0;
    /// Pending and abandoned ones.
    virtual Result<std::vector<CompactionIntent>> list_compaction_intents(
        const RequestContext& context) = 0;
    /// As abandon_flush_intent and remove_flush_intent.
    virtual Result<> abandon_compaction_intent(const RequestContext& context,
                                               std::string_view compaction_id) = 0;
    virtual Result<> remove_compaction_intent(const RequestContext& context,
                                              std::string_view compaction_id) = 0;

    /// How many live parts the stream has, and how many of them are older than that. Of a dump with
    /// an older part all count as older.
    virtual Result<PartCounts> count_parts(const RequestContext& context,
                                           const StreamId& stream,
                                           std::int64_t time_max_before_us) = 0;
    /// Marks live parts of the table whose newest row is older than `time_max_before_us` as removed
    /// now; returns how many (at most `parts_max`).
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
    /// Those of the table: list_part_dumps has the others.
    virtual Result<std::vector<PartInfo>> list_parts(const RequestContext& context,
                                                     std::string_view after,
                                                     std::int64_t parts_max) = 0;
    /// The same of one stream.
    virtual Result<std::vector<PartInfo>> list_stream_parts(const RequestContext& context,
                                                            const StreamId& stream,
                                                            std::string_view after,
                                                            std::int64_t parts_max) = 0;
    /// What the database itself finds wrong with its tables and indexes, one a line (at most 20);
    /// reads all of it. Postgres is asked nothing: its own checksums and tools do that.
    virtual Result<std::vector<std::string>> check_integrity(const RequestContext& context) = 0;
};

}  // namespace molesignal
