#include "compaction/compaction_leases.h"

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(compaction_intent_abandoned);
MS_DEFINE_FAILPOINT(compaction_object_removed);

}  // namespace

Result<Lease> CompactionLeases::take(const RequestContext& context, const std::string& name) {
    return catalogue_.acquire_lease(
        context,
        name,
        holder_.name,
        std::chrono::duration_cast<std::chrono::microseconds>(holder_.lease_time).count(),
        holder_.replaces);
}

Result<std::optional<CompactionLeases::Held>> CompactionLeases::acquire(
    const RequestContext& context, const std::string& name) {
    auto lease = take(context, name);
    if (!lease) {
        if (lease.error().code() == ErrorCode::kConflict) {
            return std::optional<Held>();
        }
        return std::move(lease).error();
    }
    return std::optional<Held>({.lease = std::move(*lease), .kept = clock_.steady_now()});
}

Result<> CompactionLeases::keep(const RequestContext& context, Held& held) {
    const auto now = clock_.steady_now();
    if (now < held.kept + holder_.lease_time / 3) {
        return {};
    }
    MS_TRY(const auto renewed, take(context, held.lease.name));
    if (renewed.epoch != held.lease.epoch) {
        return Error(
            ErrorCode::kConflict,
            fmt::format("another compactor had the lease '{}' meanwhile", held.lease.name));
    }
    held.kept = now;
    return {};
}

void CompactionLeases::release(const RequestContext& context, const Held& held) {
    if (const auto released = catalogue_.release_lease(context, held.lease); !released) {
        log_warn("a lease of a compaction runs out by itself",
                 {{"lease", held.lease.name}, {"error", released.error().message()}});
    }
}

Result<> CompactionLeases::clear_intents(const RequestContext& context, const std::string& lease) {
    MS_TRY(const auto intents, catalogue_.list_compaction_intents(context));
    for (const auto& intent : intents) {
        if (intent.lease == lease) {
            MS_TRY_VOID(clear_intent(context, intent));
        }
    }
    return {};
}

Result<> CompactionLeases::clear_intent(const RequestContext& context,
                                        const CompactionIntent& intent) {
    if (auto abandoned = catalogue_.abandon_compaction_intent(context, intent.compaction_id);
        !abandoned) {
        // Committed after all, or removed: then there is nothing to clear.
        return abandoned.error().code() == ErrorCode::kConflict ? Result<>() : std::move(abandoned);
    }
    MS_PASS_FAILPOINT(compaction_intent_abandoned);
    for (const auto& key : intent.object_keys) {
        MS_TRY_VOID(objects_.remove(context, key));
        MS_PASS_FAILPOINT(compaction_object_removed);
    }
    return catalogue_.remove_compaction_intent(context, intent.compaction_id);
}

Result<> CompactionLeases::clear_abandoned(const RequestContext& context) {
    MS_TRY(const auto intents, catalogue_.list_compaction_intents(context));
    for (const auto& intent : intents) {
        MS_TRY(const auto held, acquire(context, intent.lease));
        if (!held.has_value()) {
            continue;  // It is being worked on.
        }
        const auto cleared = clear_intent(context, intent);
        MS_TRY_VOID(catalogue_.release_lease(context, held->lease));
        if (!cleared) {
            log_warn(
                "objects of an unfinished compaction cannot be removed; the next round tries again",
                {{"error", cleared.error().message()}});
        }
    }
    return {};
}

}  // namespace molesignal
