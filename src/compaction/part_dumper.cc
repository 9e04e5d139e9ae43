#include "compaction/part_dumper.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "metadata/part_key.h"
#include "storage/part_dump/part_list_file.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(part_dump_begin);
MS_DEFINE_FAILPOINT(part_dump_intent_recorded);
MS_DEFINE_FAILPOINT(part_dump_put);
MS_DEFINE_FAILPOINT(part_dump_verified);
MS_DEFINE_FAILPOINT(part_dump_committed);

constexpr std::int64_t kDayUs = 86'400'000'000;
constexpr std::int64_t kHourUs = 3'600'000'000;
constexpr int kCommitTriesMax = 3;

std::int64_t floor_div(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

/// "2026-11-26" or "2026-11-26T07".
std::string partition_key(DumpLevel level, std::int64_t begin_us) {
    const auto day = std::chrono::sys_days(std::chrono::days(floor_div(begin_us, kDayUs)));
    const std::chrono::year_month_day date(day);
    auto key = fmt::format("{:04}-{:02}-{:02}",
                           static_cast<int>(date.year()),
                           static_cast<unsigned>(date.month()),
                           static_cast<unsigned>(date.day()));
    if (level == DumpLevel::kHourly) {
        key +=
            fmt::format("T{:02}", floor_div(begin_us, kHourUs) - floor_div(begin_us, kDayUs) * 24);
    }
    return key;
}

}  // namespace

/// The parts of the table whose newest rows are of one day or hour.
struct PartDumper::Partition {
    std::int64_t begin_us = 0;
    std::string key;
    std::vector<PartInfo> parts;
    const PartDump* dump = nullptr;  ///< The one that it has; null: none.
    bool is_being_merged = false;
};

/// One dump under way.
struct PartDumper::Work {
    RequestContext context;
    const StreamInfo& stream;
    const Partition& partition;
    Lease lease;
    PartDumpCommit commit;
    ByteBuffer file = {};
    bool has_intent = false;
};

PartDumper::PartDumper(PartDumperOptions options,
                       Catalogue& catalogue,
                       ObjectStore& objects,
                       Clock& clock,
                       Random& random,
                       MetricRegistry& metrics,
                       std::shared_ptr<MemoryBudget> memory)
    : options_(std::move(options)),
      leases_(options_.holder, catalogue, objects, clock),
      catalogue_(catalogue),
      objects_(objects),
      clock_(clock),
      random_(random),
      metrics_(metrics),
      memory_(std::move(memory)),
      written_(metrics.counter("parquet_file_meta_dump_partitions_written_total",
                               "Lists of old parts that were written as objects")),
      rows_written_(metrics.counter("parquet_file_meta_dump_rows_written_total", "Parts in them")),
      failures_(metrics.counter("parquet_file_meta_dump_failures_total",
                                "Lists of old parts that could not be written")) {}

Result<PartDumpReport> PartDumper::run_once(const RequestContext& context) {
    PartDumpReport report;
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    for (const auto& org : organizations) {
        MS_TRY(const auto streams, catalogue_.list_streams(context, org.id));
        for (const auto& stream : streams) {
            MS_TRY_VOID(context.check());
            if (report.dumps_written >= options_.partitions_max) {
                return report;
            }
            if (const auto done = run_stream(context, stream, report); !done) {
                MS_TRY_VOID(context.check());
                ++report.failures;
                failures_.add();
                log_warn("a stream's old parts stay in the catalogue's table for now",
                         {{"stream", stream.name}, {"error", done.error().message()}});
            }
        }
    }
    return report;
}

Result<> PartDumper::run_stream(const RequestContext& context,
                                const StreamInfo& stream,
                                PartDumpReport& report) {
    std::int64_t parts_total = 0;
    MS_TRY(const auto snapshot,
           catalogue_.table_snapshot(context,
                                     stream.id,
                                     std::numeric_limits<std::int64_t>::min(),
                                     std::numeric_limits<std::int64_t>::max(),
                                     parts_total));
    std::vector<Partition> due;
    for (auto& partition : find_cold(snapshot)) {
        if (const auto reason = reason_to_wait(snapshot.stream, partition); !reason.empty()) {
            skip(reason, report);
        } else if (report.dumps_written + static_cast<std::int64_t>(due.size()) <
                   options_.partitions_max) {
            due.push_back(std::move(partition));
        }
    }
    return due.empty() ? Result<>() : dump_all(context, snapshot.stream, due, report);
}

/// The oldest first.
std::vector<PartDumper::Partition> PartDumper::find_cold(const StreamSnapshot& snapshot) const {
    const auto length_us = options_.level == DumpLevel::kDaily ? kDayUs : kHourUs;
    const std::string_view level = options_.level == DumpLevel::kDaily ? "daily" : "hourly";
    const auto cold_us = clock_.now().value / 1000 - options_.cold_after_days * kDayUs;
    std::map<std::int64_t, Partition> partitions;
    for (const auto& part : snapshot.parts) {
        const auto begin_us = floor_div(part.time_max_us, length_us) * length_us;
        if (begin_us + length_us <= cold_us) {
            partitions[begin_us].parts.push_back(part);
        }
    }
    std::set<std::string_view> merging;
    std::vector<CompactionGroup> groups;
    if (options_.merges && !partitions.empty()) {
        groups = plan_compactions(snapshot.parts, clock_.now(), options_.plan);
    }
    for (const auto& group : groups) {
        for (const auto& part : group.parts) {
            merging.insert(part.id);
        }
    }
    std::vector<Partition> cold;
    for (auto& [begin_us, partition] : partitions) {
        partition.begin_us = begin_us;
        partition.key = partition_key(options_.level, begin_us);
        partition.is_being_merged = std::ranges::any_of(
            partition.parts, [&](const PartInfo& part) { return merging.contains(part.id); });
        const auto dump = std::ranges::find_if(snapshot.dumps, [&](const PartDump& candidate) {
            return candidate.level == level && candidate.partition == partition.key;
        });
        partition.dump = dump == snapshot.dumps.end() ? nullptr : &*dump;
        cold.push_back(std::move(partition));
    }
    return cold;
}

std::string PartDumper::reason_to_wait(const StreamInfo& stream, const Partition& partition) const {
    const auto days = stream.settings.retention_days.value_or(options_.retention_days);
    // Retention brings a dump's parts back as soon as one of them is due: they would come and go.
    if (days > 0 && partition.begin_us < clock_.now().value / 1000 - (days - 1) * kDayUs) {
        return "retention";
    }
    if (partition.is_being_merged) {
        return "merging";
    }
    const auto parts =
        partition.parts.size() +
        static_cast<std::size_t>(partition.dump == nullptr ? 0 : partition.dump->parts);
    return parts > options_.parts_max ? "large" : "";
}

void PartDumper::skip(std::string_view reason, PartDumpReport& report) {
    ++report.skipped;
    metrics_
        .counter("parquet_file_meta_dump_partitions_skipped_total",
                 "Old days of streams that were looked at and not written, by reason",
                 {{"reason", std::string(reason)}})
        .add();
}

Result<> PartDumper::dump_all(const RequestContext& context,
                              const StreamInfo& stream,
                              const std::vector<Partition>& due,
                              PartDumpReport& report) {
    const auto name = fmt::format("compaction/{}/dump", stream.id.value);
    for (const auto& partition : due) {
        MS_TRY_VOID(context.check());
        // Anew for each: one takes much less than the lease's time.
        MS_TRY(const auto held, leases_.acquire(context, name));
        if (!held.has_value()) {
            skip("held", report);
            return {};
        }
        Work work{.context = context,
                  .stream = stream,
                  .partition = partition,
                  .lease = held->lease,
                  .commit = {}};
        const auto done = dump(work);
        leases_.release(context, *held);
        if (done) {
            ++report.dumps_written;
            report.parts_moved += static_cast<std::int64_t>(partition.parts.size());
            continue;
        }
        MS_TRY_VOID(context.check());
        ++report.failures;
        failures_.add();
        log_warn("a stream's old parts stay in the catalogue's table for now",
                 {{"stream", stream.name},
                  {"partition", partition.key},
                  {"error", done.error().message()}});
    }
    return {};
}

Result<> PartDumper::dump(Work& work) {
    MS_PASS_FAILPOINT(part_dump_begin);
    MS_TRY_VOID(leases_.clear_intents(work.context, work.lease.name));
    const auto& partition = work.partition;
    std::vector<PartInfo> parts;
    auto& dump = work.commit.dump;
    if (partition.dump != nullptr) {
        MS_TRY(const auto before, catalogue_.read_part_dump(work.context, *partition.dump));
        parts = *before;
        work.commit.replaced = partition.dump->id;
    }
    for (const auto& part : partition.parts) {
        parts.push_back(part);
        work.commit.moved.push_back(part.id);
    }
    for (auto& part : parts) {
        add_to_dump(dump, part);
        part.dump.clear();
    }
    dump.id = make_ulid(clock_.now(), random_);
    dump.stream = work.stream.id;
    dump.level = options_.level == DumpLevel::kDaily ? "daily" : "hourly";
    dump.partition = partition.key;
    work.commit.lease = work.lease;
    MS_TRY(work.file, encode_part_list(parts, partition.key, memory_));
    MS_TRY(const auto decoded, decode_part_list(work.file, memory_));
    if (decoded != parts) {
        return Error(
            ErrorCode::kInternal,
            fmt::format("the list of the parts of {} does not say what it should", partition.key));
    }
    dump.object = {.kind = "parts",
                   .key = part_list_key(work.stream, partition.key, dump.id),
                   .bytes = static_cast<std::int64_t>(work.file.size()),
                   .xxh3 = XXH3_64bits(work.file.data(), work.file.size())};
    auto done = store(work);
    if (!done && work.has_intent) {
        // Otherwise whoever gets the lease next does it.
        const CompactionIntent intent{.compaction_id = dump.id,
                                      .stream = dump.stream,
                                      .lease = work.lease.name,
                                      .epoch = work.lease.epoch,
                                      .object_keys = {dump.object.key}};
        if (const auto cleared = leases_.clear_intent(work.context, intent); !cleared) {
            log_warn("the object of a failed part dump stays until its lease is taken again",
                     {{"error", cleared.error().message()}});
        }
    }
    return done;
}

Result<> PartDumper::store(Work& work) {
    const auto& dump = work.commit.dump;
    // From here on an error may have left it behind.
    work.has_intent = true;
    MS_TRY_VOID(catalogue_.add_compaction_intent(work.context,
                                                 {.compaction_id = dump.id,
                                                  .stream = dump.stream,
                                                  .lease = work.lease.name,
                                                  .epoch = work.lease.epoch,
                                                  .object_keys = {dump.object.key},
                                                  .created_us = clock_.now().value / 1000}));
    MS_PASS_FAILPOINT(part_dump_intent_recorded);
    MS_TRY_VOID(objects_.put(work.context, dump.object.key, work.file));
    MS_PASS_FAILPOINT(part_dump_put);
    // The rows go when the dump is there: it is read back whole before. One byte more than there
    // should be: a longer object is another one.
    MS_TRY(const auto stored, objects_.get(work.context, dump.object.key, 0, work.file.size() + 1));
    if (stored != work.file) {
        return Error(
            ErrorCode::kUnavailable,
            fmt::format("what was stored under {} is not what was written", dump.object.key));
    }
    MS_PASS_FAILPOINT(part_dump_verified);
    MS_TRY_VOID(commit(work));
    work.has_intent = false;
    written_.add();
    rows_written_.add(static_cast<double>(dump.parts));
    log_info("the rows of old parts were moved from the catalogue into an object",
             {{"stream", work.stream.name},
              {"partition", dump.partition},
              {"parts", dump.parts},
              {"moved", work.commit.moved.size()},
              {"object", dump.object.key},
              {"bytes", dump.object.bytes}});
    MS_PASS_FAILPOINT(part_dump_committed);
    return {};
}

Result<> PartDumper::commit(Work& work) {
    for (int tries_left = kCommitTriesMax - 1;; --tries_left) {
        auto done = catalogue_.commit_part_dump(work.context, work.commit);
        // It may have happened; the next try, or clearing its intent, tells.
        if (done || done.error().code() != ErrorCode::kUnavailable || tries_left == 0) {
            return done;
        }
    }
}

}  // namespace molesignal
