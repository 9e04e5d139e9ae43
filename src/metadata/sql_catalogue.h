#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/random.h"
#include "metadata/catalogue.h"
#include "metadata/sql_connection.h"
#include "metadata/sql_pool.h"

namespace molesignal {

/// The catalogue on a SQL database. Thread-safe.
///
/// Transactions that write lock rows in the order organisation, stream, shard, lease, intent, so
/// that they wait for each other instead of deadlocking.
class SqlCatalogue final : public Catalogue {
public:
    struct Database {
        SqlDialect dialect;
        std::string description;
        std::shared_ptr<void> guard;  ///< Is destroyed after the connections; may be null.
        std::unique_ptr<SqlPool> writers;
        std::unique_ptr<SqlPool> readers;  ///< Null: readers use `writers`.
    };
    SqlCatalogue(Database database, Clock& clock, Random& random);

    Result<> migrate(const RequestContext& context) override;
    /// Whether `migrate` would find nothing to do. kConflict: it would, or refuse.
    Result<> check_version(const RequestContext& context);
    Result<> ping(const RequestContext& context) override;

    Result<std::vector<Organization>> list_organizations(const RequestContext& context) override;
    Result<Organization> ensure_organization(const RequestContext& context,
                                             std::string_view slug) override;

    Result<std::vector<StreamInfo>> list_streams(const RequestContext& context,
                                                 const OrgId& org) override;
    Result<std::optional<StreamInfo>> find_stream(const RequestContext& context,
                                                  const OrgId& org,
                                                  StreamType type,
                                                  std::string_view name) override;
    Result<std::optional<StreamInfo>> get_stream(const RequestContext& context,
                                                 const OrgId& org,
                                                 const StreamId& id) override;
    Result<StreamInfo> ensure_stream(const RequestContext& context,
                                     const OrgId& org,
                                     StreamType type,
                                     std::string_view name,
                                     std::int64_t streams_max) override;
    Result<> update_stream_settings(const RequestContext& context,
                                    const OrgId& org,
                                    const StreamId& id,
                                    const StreamSettings& expected,
                                    const StreamSettings& settings) override;
    Result<> delete_stream(const RequestContext& context,
                           const OrgId& org,
                           const StreamId& id) override;
    Result<StreamTotals> stream_totals(const RequestContext& context, const StreamId& id) override;
    Result<std::int64_t> purge_streams(const RequestContext& context,
                                       std::int64_t grace_us,
                                       std::int64_t streams_max) override;

    Result<StreamSchema> ensure_fields(const RequestContext& context,
                                       const StreamId& stream,
                                       const std::vector<NewField>& fields) override;
    Result<StreamSnapshot> snapshot(const RequestContext& context,
                                    const StreamId& stream,
                                    std::int64_t time_min_us,
                                    std::int64_t time_max_us,
                                    std::int64_t& parts_total) override;

    Result<StreamSnapshot> table_snapshot(const RequestContext& context,
                                          const StreamId& stream,
                                          std::int64_t time_min_us,
                                          std::int64_t time_max_us,
                                          std::int64_t& parts_total) override;

    Result<ShardInfo> create_shard(const RequestContext& context,
                                   const StreamId& stream,
                                   std::string_view owner) override;
    Result<std::vector<ShardInfo>> claim_shards(
        const RequestContext& context,
        std::string_view owner,
        const std::vector<std::pair<ShardId, Position>>& tails) override;
    Result<> delete_shards(const RequestContext& context,
                           std::string_view owner,
                           const std::vector<ShardId>& ids) override;
    Result<std::int64_t> purge_shards(const RequestContext& context, std::int64_t age_us) override;
    Result<std::optional<ShardInfo>> get_shard(const RequestContext& context, ShardId id) override;
    Result<std::vector<ShardInfo>> list_live_shards(const RequestContext& context) override;
    Result<> set_shard_state(const RequestContext& context,
                             ShardId id,
                             Epoch epoch,
                             ShardState state) override;

    Result<> add_flush_intent(const RequestContext& context, const FlushIntent& intent) override;
    Result<> commit_flush(const RequestContext& context, const FlushCommit& commit) override;
    Result<std::vector<FlushIntent>> list_flush_intents(const RequestContext& context) override;
    Result<> abandon_flush_intent(const RequestContext& context,
                                  std::string_view flush_id) override;
    Result<> remove_flush_intent(const RequestContext& context, std::string_view flush_id) override;

    Result<> add_compaction_intent(const RequestContext& context,
                                   const CompactionIntent& intent) override;
    Result<> commit_compaction(const RequestContext& context,
                               const CompactionCommit& commit) override;
    Result<> commit_id_pack(const RequestContext& context, const IdPackCommit& commit) override;
    Result<std::vector<IdPackInfo>> list_id_packs(const RequestContext& context,
                                                  std::string_view after,
                                                  std::int64_t packs_max) override;
    Result<std::vector<IdPackInfo>> list_removed_id_packs(const RequestContext& context,
                                                          std::int64_t grace_us,
                                                          std::int64_t packs_max) override;
    Result<> purge_id_pack(const RequestContext& context, std::string_view pack_id) override;
    Result<std::vector<CompactionIntent>> list_compaction_intents(
        const RequestContext& context) override;
    Result<> abandon_compaction_intent(const RequestContext& context,
                                       std::string_view compaction_id) override;
    Result<> remove_compaction_intent(const RequestContext& context,
                                      std::string_view compaction_id) override;

    Result<PartCounts> count_parts(const RequestContext& context,
                                   const StreamId& stream,
                                   std::int64_t time_max_before_us) override;
    Result<std::int64_t> expire_parts(const RequestContext& context,
                                      const StreamId& stream,
                                      std::int64_t time_max_before_us,
                                      std::int64_t parts_max) override;
    Result<std::vector<PartInfo>> list_removed_parts(const RequestContext& context,
                                                     std::int64_t grace_us,
                                                     std::int64_t parts_max) override;
    Result<> purge_part(const RequestContext& context, std::string_view part_id) override;

    Result<std::vector<PartInfo>> list_parts(const RequestContext& context,
                                             std::string_view after,
                                             std::int64_t parts_max) override;
    Result<std::vector<PartInfo>> list_stream_parts(const RequestContext& context,
                                                    const StreamId& stream,
                                                    std::string_view after,
                                                    std::int64_t parts_max) override;
    Result<std::vector<std::string>> check_integrity(const RequestContext& context) override;

    Result<> add_token(const RequestContext& context, const ApiToken& token) override;
    Result<std::vector<ApiToken>> list_tokens(const RequestContext& context,
                                              const OrgId& org) override;
    Result<std::optional<ApiToken>> find_token(const RequestContext& context,
                                               std::string_view prefix) override;
    Result<> revoke_token(const RequestContext& context,
                          const OrgId& org,
                          std::string_view id) override;

    Result<Lease> acquire_lease(const RequestContext& context,
                                std::string_view name,
                                std::string_view holder,
                                std::int64_t ttl_us,
                                std::string_view replaces) override;
    Result<> release_lease(const RequestContext& context, const Lease& lease) override;

    void use_part_dumps(std::shared_ptr<PartDumpReader> reader) override {
        dump_reader_ = std::move(reader);
    }
    Result<> commit_part_dump(const RequestContext& context, const PartDumpCommit& commit) override;
    Result<> restore_part_dump(const RequestContext& context, std::string_view id) override;
    Result<std::vector<PartDump>> list_part_dumps(const RequestContext& context,
                                                  const PartDumpQuery& query) override;
    Result<PartList> read_part_dump(const RequestContext& context, const PartDump& dump) override;
    Result<std::vector<PartDump>> list_removed_part_dumps(const RequestContext& context,
                                                          std::int64_t grace_us,
                                                          std::int64_t dumps_max) override;
    Result<> purge_part_dump(const RequestContext& context, std::string_view id) override;

    std::string describe() const override { return database_.description; }

private:
    using Body = std::function<Result<>(SqlConnection& connection)>;

    /// Runs `body` in one transaction; again if only concurrent transactions were in the way.
    /// `doing` begins the error's message.
    Result<> transact(const RequestContext& context,
                      SqlAccess access,
                      std::string_view doing,
                      const Body& body);
    /// One try. Sets `again` if the transaction had no effect and may run again.
    Result<> transact_once(const RequestContext& context,
                           SqlAccess access,
                           const Body& body,
                           bool& again);
    /// One statement that reads.
    Result<SqlRows> read(const RequestContext& context,
                         std::string_view doing,
                         std::string_view sql,
                         const SqlParameters& parameters);
    Result<bool> migrate_one(const RequestContext& context);
    /// kConflict: the database has a migration that this program does not know.
    static Result<> check_migrations(const SqlRows& applied);
    /// Locks the stream until the transaction ends. kNotFound if it is not there or deleted.
    Result<> lock_stream(const RequestContext& context,
                         SqlConnection& connection,
                         const StreamId& stream);
    /// Counts the version of a stream that the transaction has locked.
    Result<std::int64_t> next_version(const RequestContext& context,
                                      SqlConnection& connection,
                                      const StreamId& stream);
    /// Locks the shard (after its stream) until the transaction ends. kNotFound if it is not there.
    Result<ShardInfo> lock_shard(const RequestContext& context,
                                 SqlConnection& connection,
                                 ShardId id);
    /// The shards that fulfil `condition`, in the order of their ids.
    Result<std::vector<ShardInfo>> query_shards(const RequestContext& context,
                                                SqlConnection& connection,
                                                std::string_view condition,
                                                const SqlParameters& parameters);
    Result<> claim_tail(const RequestContext& context,
                        SqlConnection& connection,
                        std::string_view owner,
                        const std::pair<ShardId, Position>& tail);
    Result<> consume_intent(const RequestContext& context,
                            SqlConnection& connection,
                            const FlushCommit& commit);
    /// Of a compaction or a dump; returns the names of its objects.
    Result<std::string> consume_intent(const RequestContext& context,
                                       SqlConnection& connection,
                                       std::string_view compaction_id,
                                       const StreamId& stream,
                                       const Lease& lease);
    /// What commit_compaction does once the intent is known to be there.
    Result<> swap_parts(const RequestContext& context,
                        SqlConnection& connection,
                        const CompactionCommit& commit);
    /// What commit_id_pack does under its locks.
    Result<> swap_id_packs(const RequestContext& context,
                           SqlConnection& connection,
                           const IdPackCommit& commit);
    /// The parts of `wanted` ("FROM parquet_file_meta WHERE …") with their objects.
    Result<std::vector<PartInfo>> query_parts(const RequestContext& context,
                                              std::string_view doing,
                                              std::string_view wanted,
                                              const SqlParameters& parameters);
    Result<> insert_part(const RequestContext& context,
                         SqlConnection& connection,
                         const PartInfo& part,
                         std::int64_t version);
    /// What commit_part_dump does once the intent is known to be there.
    Result<> move_to_dump(const RequestContext& context,
                          SqlConnection& connection,
                          const PartDumpCommit& commit);
    Result<> insert_dump(const RequestContext& context,
                         SqlConnection& connection,
                         const PartDump& dump);
    /// Removes a live dump; nothing if it is not live any more.
    Result<std::optional<PartDump>> remove_dump(const RequestContext& context,
                                                SqlConnection& connection,
                                                std::string_view id);
    Result<std::vector<PartList>> read_dumps(const RequestContext& context,
                                             std::span<const PartDump> dumps);
    std::int64_t now_us() const { return clock_.now().value / 1000; }

    Database database_;
    Clock& clock_;
    Random& random_;
    std::shared_ptr<PartDumpReader> dump_reader_;
    // Statements that differ by dialect, made once.
    std::string lock_organization_sql_;
    std::string lock_stream_sql_;
    std::string lock_shard_sql_;
    std::string lock_lease_sql_;
    std::string lock_intent_sql_;
    std::string lock_compaction_intent_sql_;
    std::string replace_part_sql_;
    std::string expire_parts_sql_;
    std::string delete_parts_sql_;
    std::string purged_streams_sql_;
    std::string removed_parts_sql_;  ///< From FROM on.
    std::string remove_id_pack_sql_;
    std::string delete_id_packs_sql_;
    std::string removed_id_packs_sql_;
    std::string acquire_lease_sql_;
};

}  // namespace molesignal
