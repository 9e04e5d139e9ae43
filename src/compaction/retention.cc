#include "compaction/retention.h"

#include <cmath>

#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(retention_parts_expired);
MS_DEFINE_FAILPOINT(retention_object_removed);
MS_DEFINE_FAILPOINT(retention_part_purged);
MS_DEFINE_FAILPOINT(retention_id_pack_removed);
MS_DEFINE_FAILPOINT(retention_dump_restored);
MS_DEFINE_FAILPOINT(retention_dump_object_removed);

constexpr std::int64_t kMicrosPerDay = 86'400LL * 1'000'000;
constexpr std::int64_t kStreamsPerRoundMax = 100;
constexpr std::int64_t kDumpsPerRoundMax = 100;  ///< Of one stream, beside those that failed.
constexpr std::size_t kFailedPartsMax = 10'000;

std::int64_t micros(std::chrono::seconds duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace

Retention::Retention(const RetentionOptions& options,
                     Catalogue& catalogue,
                     ObjectStore& objects,
                     Clock& clock,
                     MetricRegistry& metrics)
    : options_(options),
      catalogue_(catalogue),
      objects_(objects),
      clock_(clock),
      deleted_(metrics.counter("compactor_retention_deleted_total",
                               "Parts deleted because of their age")),
      restored_(metrics.counter("parquet_file_meta_dump_delete_partitions_dropped_total",
                                "Lists of old parts that went because parts of them are due")),
      failures_(
          metrics.counter("compactor_retention_failures_total",
                          "Streams, parts and dumps that retention could not handle in a round")),
      last_wall_(clock.now()),
      last_steady_(clock.steady_now()) {}

Result<RetentionReport> Retention::run_once(const RequestContext& context) {
    RetentionReport report;
    look_at_clock();
    auto expired = expire(context, report);
    auto purged = purge(context, report);
    failures_.add(static_cast<double>(report.failures));
    MS_TRY_VOID(expired);
    MS_TRY_VOID(purged);
    return report;
}

void Retention::look_at_clock() {
    const auto wall = clock_.now();
    const auto steady = clock_.steady_now();
    const auto jump = (wall.value - last_wall_.value) - (steady.value - last_steady_.value);
    if (std::abs(jump) > std::chrono::nanoseconds(options_.jump_max).count()) {
        log_warn("the wall clock jumped; retention waits before it believes it",
                 {{"seconds", jump / 1'000'000'000}});
        held_since_.clear();
    }
    last_wall_ = wall;
    last_steady_ = steady;
}

Result<> Retention::expire(const RequestContext& context, RetentionReport& report) {
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    for (const auto& org : organizations) {
        const auto streams = catalogue_.list_streams(context, org.id);
        if (!streams) {
            ++report.failures;
            log_warn("retention cannot list an organisation's streams",
                     {{"org", org.slug}, {"error", streams.error().message()}});
            continue;
        }
        for (const auto& stream : *streams) {
            MS_TRY_VOID(context.check());
            if (const auto done = expire_stream(context, stream, report); !done) {
                ++report.failures;
                log_warn("retention cannot expire a stream's parts",
                         {{"stream", stream.name}, {"error", done.error().message()}});
            }
        }
    }
    return {};
}

Result<> Retention::expire_stream(const RequestContext& context,
                                  const StreamInfo& stream,
                                  RetentionReport& report) {
    const auto days = stream.settings.retention_days.value_or(options_.retention_days);
    if (days <= 0) {
        held_since_.erase(stream.id.value);
        return {};
    }
    const auto before_us = clock_.now().value / 1000 - days * kMicrosPerDay;
    MS_TRY(const auto parts, catalogue_.count_parts(context, stream.id, before_us));
    if (!believed(stream, parts)) {
        report.parts_held += parts.due;
        return {};
    }
    if (parts.due == 0) {
        return {};
    }
    MS_TRY_VOID(
        restore(context,
                {.stream = stream.id,
                 .ended_before_us = before_us,
                 .dumps_max = kDumpsPerRoundMax + static_cast<std::int64_t>(failed_dumps_.size())},
                report));
    MS_TRY(const auto expired,
           catalogue_.expire_parts(context, stream.id, before_us, options_.parts_per_round_max));
    log_info("parts are older than their stream's retention",
             {{"stream", stream.name}, {"parts", expired}, {"retention_days", days}});
    report.parts_expired += expired;
    deleted_.add(static_cast<double>(expired));
    MS_PASS_FAILPOINT(retention_parts_expired);
    return {};
}

Result<> Retention::restore(const RequestContext& context,
                            const PartDumpQuery& dumps,
                            RetentionReport& report) {
    MS_TRY(const auto due, catalogue_.list_part_dumps(context, dumps));
    for (const auto& dump : due) {
        MS_TRY_VOID(context.check());
        if (const auto done = catalogue_.restore_part_dump(context, dump.id); !done) {
            ++report.failures;
            if (failed_dumps_.size() < kFailedPartsMax && failed_dumps_.insert(dump.id).second) {
                log_error("parts that are due stay, because their list cannot be read",
                          {{"partition", dump.partition}, {"error", done.error().message()}});
            }
            continue;
        }
        ++report.dumps_restored;
        restored_.add();
        MS_PASS_FAILPOINT(retention_dump_restored);
    }
    return {};
}

bool Retention::believed(const StreamInfo& stream, const PartCounts& parts) {
    const auto share = static_cast<double>(parts.due) / static_cast<double>(parts.live);
    if (parts.due <= 1 || share <= options_.share_max) {
        held_since_.erase(stream.id.value);
        return true;
    }
    const auto now = clock_.steady_now();
    const auto [held, is_new] = held_since_.try_emplace(stream.id.value, now);
    if (held->second + options_.confirm <= now) {
        return true;
    }
    if (is_new) {
        log_warn(
            "most of a stream's parts are due at once; they go if the clock stays as it is",
            {{"stream", stream.name},
             {"parts", parts.live},
             {"due", parts.due},
             {"hours", std::chrono::duration_cast<std::chrono::hours>(options_.confirm).count()}});
    }
    return false;
}

Result<> Retention::purge(const RequestContext& context, RetentionReport& report) {
    const auto grace_us = micros(options_.grace);
    // Those that failed last time come first again: beyond them there is room for others.
    MS_TRY(const auto removed,
           catalogue_.list_removed_parts(
               context,
               grace_us,
               options_.parts_per_round_max + static_cast<std::int64_t>(failed_parts_.size())));
    std::set<std::string> failed;
    for (const auto& part : removed) {
        MS_TRY_VOID(context.check());
        const auto done = purge_part(context, part, report);
        if (done) {
            continue;
        }
        ++report.failures;
        if (failed.size() < kFailedPartsMax) {
            failed.insert(part.id);
        }
        if (!failed_parts_.contains(part.id)) {
            log_warn("retention cannot remove a part's objects; it tries again in each round",
                     {{"part", part.id}, {"error", done.error().message()}});
        }
    }
    failed_parts_ = std::move(failed);
    MS_TRY_VOID(purge_id_packs(context, report));
    MS_TRY_VOID(purge_dumps(context, report));
    MS_TRY(report.streams_forgotten,
           catalogue_.purge_streams(context, grace_us, kStreamsPerRoundMax));
    return {};
}

Result<> Retention::purge_id_packs(const RequestContext& context, RetentionReport& report) {
    MS_TRY(const auto packs,
           catalogue_.list_removed_id_packs(
               context, micros(options_.grace), options_.parts_per_round_max));
    for (const auto& pack : packs) {
        MS_TRY_VOID(context.check());
        auto done = objects_.remove(context, pack.object.key);
        if (done) {
            ++report.objects_removed;
            MS_PASS_FAILPOINT(retention_id_pack_removed);
            done = catalogue_.purge_id_pack(context, pack.id);
        }
        if (!done) {
            ++report.failures;
            log_warn("retention cannot remove a pack of ids; it tries again in each round",
                     {{"pack", pack.id}, {"error", done.error().message()}});
        }
    }
    return {};
}

Result<> Retention::purge_dumps(const RequestContext& context, RetentionReport& report) {
    MS_TRY_VOID(
        restore(context,
                {.of_deleted_streams = true,
                 .dumps_max = kDumpsPerRoundMax + static_cast<std::int64_t>(failed_dumps_.size())},
                report));
    MS_TRY(const auto removed,
           catalogue_.list_removed_part_dumps(
               context, micros(options_.grace), options_.parts_per_round_max));
    for (const auto& dump : removed) {
        MS_TRY_VOID(context.check());
        if (const auto done = purge_dump(context, dump, report); !done) {
            ++report.failures;
            log_warn("retention cannot remove a list of old parts; it tries again in each round",
                     {{"object", dump.object.key}, {"error", done.error().message()}});
        }
    }
    return {};
}

Result<> Retention::purge_dump(const RequestContext& context,
                               const PartDump& dump,
                               RetentionReport& report) {
    MS_TRY_VOID(objects_.remove(context, dump.object.key));
    ++report.objects_removed;
    MS_PASS_FAILPOINT(retention_dump_object_removed);
    MS_TRY_VOID(catalogue_.purge_part_dump(context, dump.id));
    ++report.dumps_purged;
    return {};
}

Result<> Retention::purge_part(const RequestContext& context,
                               const PartInfo& part,
                               RetentionReport& report) {
    for (const auto& object : part.objects) {
        MS_TRY_VOID(objects_.remove(context, object.key));
        ++report.objects_removed;
        MS_PASS_FAILPOINT(retention_object_removed);
    }
    MS_TRY_VOID(catalogue_.purge_part(context, part.id));
    ++report.parts_purged;
    MS_PASS_FAILPOINT(retention_part_purged);
    return {};
}

}  // namespace molesignal
