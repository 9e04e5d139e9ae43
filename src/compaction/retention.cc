#include "compaction/retention.h"

#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(retention_parts_expired);
MS_DEFINE_FAILPOINT(retention_object_removed);
MS_DEFINE_FAILPOINT(retention_part_purged);

constexpr std::int64_t kMicrosPerDay = 86'400LL * 1'000'000;

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
                               "Parts deleted because of their age")) {}

Result<RetentionReport> Retention::run_once(const RequestContext& context) {
    RetentionReport report;
    MS_TRY_VOID(expire(context, report));
    MS_TRY_VOID(purge(context, report));
    return report;
}

Result<> Retention::expire(const RequestContext& context, RetentionReport& report) {
    const auto now_us = clock_.now().value / 1000;
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    for (const auto& org : organizations) {
        MS_TRY(const auto streams, catalogue_.list_streams(context, org.id));
        for (const auto& stream : streams) {
            const auto days = stream.settings.retention_days.value_or(options_.retention_days);
            if (days <= 0) {
                continue;
            }
            const auto before_us = now_us - days * kMicrosPerDay;
            MS_TRY(const auto expired,
                   catalogue_.expire_parts(
                       context, stream.id, before_us, options_.parts_per_round_max));
            if (expired > 0) {
                log_info("parts are older than their stream's retention",
                         {{"stream", stream.name}, {"parts", expired}, {"retention_days", days}});
            }
            report.parts_expired += expired;
            deleted_.add(static_cast<double>(expired));
            MS_PASS_FAILPOINT(retention_parts_expired);
        }
    }
    return {};
}

Result<> Retention::purge(const RequestContext& context, RetentionReport& report) {
    const auto grace_us =
        std::chrono::duration_cast<std::chrono::microseconds>(options_.grace).count();
    MS_TRY(const auto removed,
           catalogue_.list_removed_parts(context, grace_us, options_.parts_per_round_max));
    for (const auto& part : removed) {
        for (const auto& object : part.objects) {
            MS_TRY_VOID(objects_.remove(context, object.key));
            ++report.objects_removed;
            MS_PASS_FAILPOINT(retention_object_removed);
        }
        MS_TRY_VOID(catalogue_.purge_part(context, part.id));
        ++report.parts_purged;
        MS_PASS_FAILPOINT(retention_part_purged);
    }
    return {};
}

}  // namespace molesignal
