#include "tests/states/faulty_catalogue.h"

#include <fmt/format.h>

namespace molesignal {

void FaultyCatalogue::arm(CatalogueFault fault) {
    const MutexLock lock(mutex_);
    fault_ = std::move(fault);
    matches_ = 0;
    fired_ = 0;
}

void FaultyCatalogue::disarm() {
    const MutexLock lock(mutex_);
    fault_.reset();
}

std::uint64_t FaultyCatalogue::fired() const {
    const MutexLock lock(mutex_);
    return fired_;
}

std::optional<std::pair<CatalogueFaultEffect, Error>> FaultyCatalogue::pass(std::string_view verb) {
    const MutexLock lock(mutex_);
    if (!fault_.has_value() || (!fault_->verb.empty() && fault_->verb != verb) ||
        !fault_->plan.fails(++matches_)) {
        return std::nullopt;
    }
    ++fired_;
    return std::pair(fault_->effect,
                     Error(fault_->code, fmt::format("catalogue: {}: injected fault", verb)));
}

Result<> FaultyCatalogue::migrate(const RequestContext& context) {
    return run("migrate", [&] { return base_.migrate(context); });
}

Result<> FaultyCatalogue::ping(const RequestContext& context) {
    return run("ping", [&] { return base_.ping(context); });
}

Result<std::vector<Organization>> FaultyCatalogue::list_organizations(
    const RequestContext& context) {
    return run("list_organizations", [&] { return base_.list_organizations(context); });
}

Result<Organization> FaultyCatalogue::ensure_organization(const RequestContext& context,
                                                          std::string_view slug) {
    return run("ensure_organization", [&] { return base_.ensure_organization(context, slug); });
}

Result<std::vector<StreamInfo>> FaultyCatalogue::list_streams(const RequestContext& context,
                                                              const OrgId& org) {
    return run("list_streams", [&] { return base_.list_streams(context, org); });
}

Result<std::optional<StreamInfo>> FaultyCatalogue::find_stream(const RequestContext& context,
                                                               const OrgId& org,
                                                               StreamType type,
                                                               std::string_view name) {
    return run("find_stream", [&] { return base_.find_stream(context, org, type, name); });
}

Result<std::optional<StreamInfo>> FaultyCatalogue::get_stream(const RequestContext& context,
                                                              const OrgId& org,
                                                              const StreamId& id) {
    return run("get_stream", [&] { return base_.get_stream(context, org, id); });
}

Result<StreamInfo> FaultyCatalogue::ensure_stream(const RequestContext& context,
                                                  const OrgId& org,
                                                  StreamType type,
                                                  std::string_view name,
                                                  std::int64_t streams_max) {
    return run("ensure_stream",
               [&] { return base_.ensure_stream(context, org, type, name, streams_max); });
}

Result<> FaultyCatalogue::update_stream_settings(const RequestContext& context,
                                                 const OrgId& org,
                                                 const StreamId& id,
                                                 const StreamSettings& expected,
                                                 const StreamSettings& settings) {
    return run("update_stream_settings",
               [&] { return base_.update_stream_settings(context, org, id, expected, settings); });
}

Result<> FaultyCatalogue::delete_stream(const RequestContext& context,
                                        const OrgId& org,
                                        const StreamId& id) {
    return run("delete_stream", [&] { return base_.delete_stream(context, org, id); });
}

Result<StreamTotals> FaultyCatalogue::stream_totals(const RequestContext& context,
                                                    const StreamId& id) {
    return run("stream_totals", [&] { return base_.stream_totals(context, id); });
}

Result<std::int64_t> FaultyCatalogue::purge_streams(const RequestContext& context,
                                                    std::int64_t grace_us,
                                                    std::int64_t streams_max) {
    return run("purge_streams",
               [&] { return base_.purge_streams(context, grace_us, streams_max); });
}

Result<StreamSchema> FaultyCatalogue::ensure_fields(const RequestContext& context,
                                                    const StreamId& stream,
                                                    const std::vector<NewField>& fields) {
    return run("ensure_fields", [&] { return base_.ensure_fields(context, stream, fields); });
}

Result<StreamSnapshot> FaultyCatalogue::snapshot(const RequestContext& context,
                                                 const StreamId& stream,
                                                 std::int64_t time_min_us,
                                                 std::int64_t time_max_us,
                                                 std::int64_t& parts_total) {
    return run("snapshot", [&] {
        return base_.snapshot(context, stream, time_min_us, time_max_us, parts_total);
    });
}

Result<StreamSnapshot> FaultyCatalogue::table_snapshot(const RequestContext& context,
                                                       const StreamId& stream,
                                                       std::int64_t time_min_us,
                                                       std::int64_t time_max_us,
                                                       std::int64_t& parts_total) {
    return run("table_snapshot", [&] {
        return base_.table_snapshot(context, stream, time_min_us, time_max_us, parts_total);
    });
}

Result<> FaultyCatalogue::commit_part_dump(const RequestContext& context,
                                           const PartDumpCommit& commit) {
    return run("commit_part_dump", [&] { return base_.commit_part_dump(context, commit); });
}

Result<> FaultyCatalogue::restore_part_dump(const RequestContext& context, std::string_view id) {
    return run("restore_part_dump", [&] { return base_.restore_part_dump(context, id); });
}

Result<std::vector<PartDump>> FaultyCatalogue::list_part_dumps(const RequestContext& context,
                                                               const PartDumpQuery& query) {
    return run("list_part_dumps", [&] { return base_.list_part_dumps(context, query); });
}

Result<PartList> FaultyCatalogue::read_part_dump(const RequestContext& context,
                                                 const PartDump& dump) {
    return run("read_part_dump", [&] { return base_.read_part_dump(context, dump); });
}

Result<std::vector<PartDump>> FaultyCatalogue::list_removed_part_dumps(
    const RequestContext& context, std::int64_t grace_us, std::int64_t dumps_max) {
    return run("list_removed_part_dumps",
               [&] { return base_.list_removed_part_dumps(context, grace_us, dumps_max); });
}

Result<> FaultyCatalogue::purge_part_dump(const RequestContext& context, std::string_view id) {
    return run("purge_part_dump", [&] { return base_.purge_part_dump(context, id); });
}

Result<std::vector<PartInfo>> FaultyCatalogue::list_parts(const RequestContext& context,
                                                          std::string_view after,
                                                          std::int64_t parts_max) {
    return run("list_parts", [&] { return base_.list_parts(context, after, parts_max); });
}

Result<std::vector<PartInfo>> FaultyCatalogue::list_stream_parts(const RequestContext& context,
                                                                 const StreamId& stream,
                                                                 std::string_view after,
                                                                 std::int64_t parts_max) {
    return run("list_stream_parts",
               [&] { return base_.list_stream_parts(context, stream, after, parts_max); });
}

Result<std::vector<std::string>> FaultyCatalogue::check_integrity(const RequestContext& context) {
    return run("check_integrity", [&] { return base_.check_integrity(context); });
}

Result<ShardInfo> FaultyCatalogue::create_shard(const RequestContext& context,
                                                const StreamId& stream,
                                                std::string_view owner) {
    return run("create_shard", [&] { return base_.create_shard(context, stream, owner); });
}

Result<std::vector<ShardInfo>> FaultyCatalogue::claim_shards(
    const RequestContext& context,
    std::string_view owner,
    const std::vector<std::pair<ShardId, Position>>& tails) {
    return run("claim_shards", [&] { return base_.claim_shards(context, owner, tails); });
}

Result<> FaultyCatalogue::delete_shards(const RequestContext& context,
                                        std::string_view owner,
                                        const std::vector<ShardId>& ids) {
    return run("delete_shards", [&] { return base_.delete_shards(context, owner, ids); });
}

Result<std::int64_t> FaultyCatalogue::purge_shards(const RequestContext& context,
                                                   std::int64_t age_us) {
    return run("purge_shards", [&] { return base_.purge_shards(context, age_us); });
}

Result<std::optional<ShardInfo>> FaultyCatalogue::get_shard(const RequestContext& context,
                                                            ShardId id) {
    return run("get_shard", [&] { return base_.get_shard(context, id); });
}

Result<std::vector<ShardInfo>> FaultyCatalogue::list_live_shards(const RequestContext& context) {
    return run("list_live_shards", [&] { return base_.list_live_shards(context); });
}

Result<> FaultyCatalogue::set_shard_state(const RequestContext& context,
                                          ShardId id,
                                          Epoch epoch,
                                          ShardState state) {
    return run("set_shard_state", [&] { return base_.set_shard_state(context, id, epoch, state); });
}

Result<> FaultyCatalogue::add_flush_intent(const RequestContext& context,
                                           const FlushIntent& intent) {
    return run("add_flush_intent", [&] { return base_.add_flush_intent(context, intent); });
}

Result<> FaultyCatalogue::commit_flush(const RequestContext& context, const FlushCommit& commit) {
    return run("commit_flush", [&] { return base_.commit_flush(context, commit); });
}

Result<std::vector<FlushIntent>> FaultyCatalogue::list_flush_intents(
    const RequestContext& context) {
    return run("list_flush_intents", [&] { return base_.list_flush_intents(context); });
}

Result<> FaultyCatalogue::abandon_flush_intent(const RequestContext& context,
                                               std::string_view flush_id) {
    return run("abandon_flush_intent",
               [&] { return base_.abandon_flush_intent(context, flush_id); });
}

Result<> FaultyCatalogue::remove_flush_intent(const RequestContext& context,
                                              std::string_view flush_id) {
    return run("remove_flush_intent", [&] { return base_.remove_flush_intent(context, flush_id); });
}

Result<> FaultyCatalogue::add_compaction_intent(const RequestContext& context,
                                                const CompactionIntent& intent) {
    return run("add_compaction_intent",
               [&] { return base_.add_compaction_intent(context, intent); });
}

Result<> FaultyCatalogue::commit_compaction(const RequestContext& context,
                                            const CompactionCommit& commit) {
    return run("commit_compaction", [&] { return base_.commit_compaction(context, commit); });
}

Result<std::vector<CompactionIntent>> FaultyCatalogue::list_compaction_intents(
    const RequestContext& context) {
    return run("list_compaction_intents", [&] { return base_.list_compaction_intents(context); });
}

Result<> FaultyCatalogue::abandon_compaction_intent(const RequestContext& context,
                                                    std::string_view compaction_id) {
    return run("abandon_compaction_intent",
               [&] { return base_.abandon_compaction_intent(context, compaction_id); });
}

Result<> FaultyCatalogue::remove_compaction_intent(const RequestContext& context,
                                                   std::string_view compaction_id) {
    return run("remove_compaction_intent",
               [&] { return base_.remove_compaction_intent(context, compaction_id); });
}

Result<PartCounts> FaultyCatalogue::count_parts(const RequestContext& context,
                                                const StreamId& stream,
                                                std::int64_t time_max_before_us) {
    return run("count_parts",
               [&] { return base_.count_parts(context, stream, time_max_before_us); });
}

Result<std::int64_t> FaultyCatalogue::expire_parts(const RequestContext& context,
                                                   const StreamId& stream,
                                                   std::int64_t time_max_before_us,
                                                   std::int64_t parts_max) {
    return run("expire_parts",
               [&] { return base_.expire_parts(context, stream, time_max_before_us, parts_max); });
}

Result<std::vector<PartInfo>> FaultyCatalogue::list_removed_parts(const RequestContext& context,
                                                                  std::int64_t grace_us,
                                                                  std::int64_t parts_max) {
    return run("list_removed_parts",
               [&] { return base_.list_removed_parts(context, grace_us, parts_max); });
}

Result<> FaultyCatalogue::purge_part(const RequestContext& context, std::string_view part_id) {
    return run("purge_part", [&] { return base_.purge_part(context, part_id); });
}

Result<> FaultyCatalogue::commit_id_pack(const RequestContext& context,
                                         const IdPackCommit& commit) {
    return run("commit_id_pack", [&] { return base_.commit_id_pack(context, commit); });
}

Result<std::vector<IdPackInfo>> FaultyCatalogue::list_id_packs(const RequestContext& context,
                                                               std::string_view after,
                                                               std::int64_t packs_max) {
    return run("list_id_packs", [&] { return base_.list_id_packs(context, after, packs_max); });
}

Result<std::vector<IdPackInfo>> FaultyCatalogue::list_removed_id_packs(
    const RequestContext& context, std::int64_t grace_us, std::int64_t packs_max) {
    return run("list_removed_id_packs",
               [&] { return base_.list_removed_id_packs(context, grace_us, packs_max); });
}

Result<> FaultyCatalogue::purge_id_pack(const RequestContext& context, std::string_view pack_id) {
    return run("purge_id_pack", [&] { return base_.purge_id_pack(context, pack_id); });
}

Result<> FaultyCatalogue::add_token(const RequestContext& context, const ApiToken& token) {
    return run("add_token", [&] { return base_.add_token(context, token); });
}

Result<std::vector<ApiToken>> FaultyCatalogue::list_tokens(const RequestContext& context,
                                                           const OrgId& org) {
    return run("list_tokens", [&] { return base_.list_tokens(context, org); });
}

Result<std::optional<ApiToken>> FaultyCatalogue::find_token(const RequestContext& context,
                                                            std::string_view prefix) {
    return run("find_token", [&] { return base_.find_token(context, prefix); });
}

Result<> FaultyCatalogue::revoke_token(const RequestContext& context,
                                       const OrgId& org,
                                       std::string_view id) {
    return run("revoke_token", [&] { return base_.revoke_token(context, org, id); });
}

Result<Lease> FaultyCatalogue::acquire_lease(const RequestContext& context,
                                             std::string_view name,
                                             std::string_view holder,
                                             std::int64_t ttl_us,
                                             std::string_view replaces) {
    return run("acquire_lease",
               [&] { return base_.acquire_lease(context, name, holder, ttl_us, replaces); });
}

Result<> FaultyCatalogue::release_lease(const RequestContext& context, const Lease& lease) {
    return run("release_lease", [&] { return base_.release_lease(context, lease); });
}

}  // namespace molesignal
