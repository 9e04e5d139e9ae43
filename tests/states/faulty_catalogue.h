#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "metadata/catalogue.h"
#include "tests/support/fault_plan.h"

namespace molesignal {

/// Whether the statement took place before the error came.
enum class CatalogueFaultEffect : std::uint8_t {
    kErrorBefore = 1,  ///< Nothing happened.
    kErrorAfter = 2,   ///< It is committed, and the answer is lost.
};

/// Which calls fail, and how.
struct CatalogueFault {
    std::string verb;  ///< As Catalogue spells it; empty: every verb.
    FaultPlan plan;
    CatalogueFaultEffect effect = CatalogueFaultEffect::kErrorBefore;
    ErrorCode code = ErrorCode::kUnavailable;
};

/// Wraps a catalogue and fails what the armed rule names. Thread-safe. The wrapped one outlives it.
class FaultyCatalogue final : public Catalogue {
public:
    explicit FaultyCatalogue(Catalogue& base) : base_(base) {}

    /// Sets the rule and starts counting matches from 1.
    void arm(CatalogueFault fault);
    void disarm();
    /// How many calls were hit since `arm`.
    std::uint64_t fired() const;

    Result<> migrate(const RequestContext& context) override;
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
    void use_part_dumps(std::shared_ptr<PartDumpReader> reader) override {
        base_.use_part_dumps(std::move(reader));
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
    Result<> commit_id_pack(const RequestContext& context, const IdPackCommit& commit) override;
    Result<std::vector<IdPackInfo>> list_id_packs(const RequestContext& context,
                                                  std::string_view after,
                                                  std::int64_t packs_max) override;
    Result<std::vector<IdPackInfo>> list_removed_id_packs(const RequestContext& context,
                                                          std::int64_t grace_us,
                                                          std::int64_t packs_max) override;
    Result<> purge_id_pack(const RequestContext& context, std::string_view pack_id) override;
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
    Result<std::vector<PartInfo>> list_parts(const RequestContext& context,
                                             std::string_view after,
                                             std::int64_t parts_max) override;
    Result<std::vector<PartInfo>> list_stream_parts(const RequestContext& context,
                                                    const StreamId& stream,
                                                    std::string_view after,
                                                    std::int64_t parts_max) override;
    Result<std::vector<std::string>> check_integrity(const RequestContext& context) override;
    std::string describe() const override { return base_.describe(); }

private:
    /// Counts the call; the effect and the error if it is hit.
    std::optional<std::pair<CatalogueFaultEffect, Error>> pass(std::string_view verb);
    template <class Call>
    auto run(std::string_view verb, const Call& call) -> decltype(call()) {
        const auto fault = pass(verb);
        if (fault.has_value() && fault->first == CatalogueFaultEffect::kErrorBefore) {
            return fault->second;
        }
        auto done = call();
        if (fault.has_value() && done) {
            return fault->second;
        }
        return done;
    }

    Catalogue& base_;
    mutable Mutex mutex_;
    std::optional<CatalogueFault> fault_ MS_GUARDED_BY(mutex_);
    std::uint64_t matches_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t fired_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
