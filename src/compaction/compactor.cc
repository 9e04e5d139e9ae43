#include "compaction/compactor.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "compaction/part_merge.h"
#include "compaction/verify_part.h"
#include "index/sidecar_format.h"
#include "io/range_reader.h"
#include "metadata/describe_part.h"
#include "metadata/part_key.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(compaction_begin);
MS_DEFINE_FAILPOINT(compaction_merged);
MS_DEFINE_FAILPOINT(compaction_intent_recorded);
MS_DEFINE_FAILPOINT(compaction_part_put);
MS_DEFINE_FAILPOINT(compaction_index_put);
MS_DEFINE_FAILPOINT(compaction_verified);
MS_DEFINE_FAILPOINT(compaction_committed);

constexpr std::string_view kLeasePrefix = "compaction/";
/// Days of one stream that can be merged at the same time, by different compactors.
constexpr std::int64_t kLeasesPerStream = 8;
constexpr int kCommitTriesMax = 3;
constexpr std::uint64_t kVerifyBytes = std::uint64_t{4} << 20U;
constexpr std::size_t kDamagedPartsMax = 10'000;

std::int64_t floor_us(std::int64_t nanos) {
    return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

std::string lease_name(const StreamId& stream, std::int64_t bucket) {
    const auto slot = (bucket % kLeasesPerStream + kLeasesPerStream) % kLeasesPerStream;
    return fmt::format("{}{}/{}", kLeasePrefix, stream.value, slot);
}

/// The catalogue's row of a merged part, without its objects.
PartInfo describe_part(const CompactionGroup& group, const std::string& id, MergedPart merged) {
    PartInfo part;
    part.id = id;
    part.stream = group.parts.front().stream;
    for (const auto& replaced : group.parts) {
        part.raw_bytes += replaced.raw_bytes;
    }
    part.shard = merged.shard;
    describe_shape(std::move(merged), part);
    return part;
}

/// The hash of a Parquet file's footer, from its end.
Result<std::uint64_t> read_footer_xxh3(RangeReader& file) {
    constexpr std::uint64_t kTrailerBytes = 8;
    if (file.size() < kTrailerBytes) {
        return Error(ErrorCode::kInternal, "a merged file is too short");
    }
    MS_TRY(const auto trailer, file.read(file.size() - kTrailerBytes, kTrailerBytes));
    const auto bytes =
        std::min<std::uint64_t>(file.size(), load_le<std::uint32_t>(trailer, 0) + kTrailerBytes);
    MS_TRY(const auto end, file.read(file.size() - bytes, bytes));
    return footer_xxh3(end);
}

/// A file in the scratch directory, removed at the end.
class ScratchFile {
public:
    static Result<ScratchFile> create(FileSystem& fs, std::string path) {
        MS_TRY(auto file, fs.open(path, OpenMode::kCreateNew));
        return ScratchFile(fs, std::move(path), std::move(file));
    }
    ScratchFile(ScratchFile&&) noexcept = default;
    ScratchFile& operator=(ScratchFile&&) = delete;
    ~ScratchFile() {
        if (file_ == nullptr) {
            return;
        }
        file_.reset();
        if (const auto removed = fs_.remove(path_); !removed) {
            log_warn("a file of a compaction stays until the next start",
                     {{"path", path_}, {"error", removed.error().message()}});
        }
    }
    File& file() { return *file_; }
    const std::string& path() const { return path_; }

private:
    ScratchFile(FileSystem& fs, std::string path, std::unique_ptr<File> file)
        : fs_(fs), path_(std::move(path)), file_(std::move(file)) {}
    FileSystem& fs_;
    std::string path_;
    std::unique_ptr<File> file_;
};

}  // namespace

/// One merge under way.
struct Compactor::Work {
    RequestContext context;
    const StreamSnapshot& stream;
    const CompactionGroup& group;
    std::string id;  ///< Of the compaction, and of the part that it makes.
    CompactionLeases::Held held;
    WorkPace pace;
    Pace step;
    std::vector<std::string> object_keys;  ///< The Parquet object's first.
    PartInfo part;
    bool has_intent = false;
};

struct Compactor::Meters {
    explicit Meters(MetricRegistry& metrics)
        : registry(metrics),
          groups(metrics.counter("compactor_merged_groups_total", "Merges of parts")),
          replaced(metrics.counter("compactor_replaced_parts_total", "Parts merged into larger")),
          rows(metrics.counter("compactor_merged_rows_total", "Rows written by merges")),
          bytes(metrics.counter("compactor_merged_bytes_total", "Bytes of merged parts")),
          cpu(metrics.counter("compactor_cpu_seconds_total", "CPU time of merges")),
          backlog(metrics.gauge("compactor_backlog_parts",
                                "Parts that the last round found to be merged")) {
        for (const auto* reason : {"damaged", "conflict", "store", "other"}) {
            failures(reason);
        }
    }
    Counter& failures(std::string_view reason) {
        return registry.counter("compactor_failures_total",
                                "Merges that failed, by reason",
                                {{"reason", std::string(reason)}});
    }

    MetricRegistry& registry;
    Counter& groups;
    Counter& replaced;
    Counter& rows;
    Counter& bytes;
    Counter& cpu;
    Gauge& backlog;
};

Result<std::unique_ptr<Compactor>> Compactor::make(const CompactorOptions& options,
                                                   Catalogue& catalogue,
                                                   ObjectStore& objects,
                                                   FileSystem& fs,
                                                   Clock& clock,
                                                   Random& random,
                                                   MetricRegistry& metrics,
                                                   std::shared_ptr<MemoryBudget> memory) {
    std::unique_ptr<Compactor> compactor(
        new Compactor(options, catalogue, objects, fs, clock, random, metrics, std::move(memory)));
    MS_TRY_VOID(fs.create_directories(options.scratch_directory));
    MS_TRY_VOID(compactor->clean_scratch());
    return compactor;
}

Compactor::Compactor(const CompactorOptions& options,
                     Catalogue& catalogue,
                     ObjectStore& objects,
                     FileSystem& fs,
                     Clock& clock,
                     Random& random,
                     MetricRegistry& metrics,
                     std::shared_ptr<MemoryBudget> memory)
    : options_(options),
      catalogue_(catalogue),
      objects_(objects),
      fs_(fs),
      clock_(clock),
      random_(random),
      memory_(std::move(memory)),
      leases_(options_.holder, catalogue, objects, clock),
      packer_(options_.packer, leases_, catalogue, objects, clock, random, metrics, memory_),
      meters_(std::make_unique<Meters>(metrics)) {}

Compactor::~Compactor() = default;

Result<> Compactor::clean_scratch() {
    MS_TRY(const auto entries, fs_.list(options_.scratch_directory));
    for (const auto& entry : entries) {
        MS_TRY_VOID(fs_.remove(join_path(options_.scratch_directory, entry.name)));
    }
    return {};
}

Result<CompactionReport> Compactor::run_once(const RequestContext& context) {
    CompactionReport report;
    MS_TRY_VOID(clear_abandoned(context));
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    meters_->backlog.set(0);
    for (const auto& org : organizations) {
        MS_TRY(const auto streams, catalogue_.list_streams(context, org.id));
        for (const auto& stream : streams) {
            MS_TRY_VOID(context.check());
            if (const auto done = run_stream(context, stream, report); !done) {
                MS_TRY_VOID(context.check());
                ++report.failures;
                log_warn("a stream's parts cannot be listed for compaction",
                         {{"stream", stream.name}, {"error", done.error().message()}});
            }
        }
    }
    return report;
}

Result<> Compactor::run_stream(const RequestContext& context,
                               const StreamInfo& stream,
                               CompactionReport& report) {
    std::int64_t parts_total = 0;
    MS_TRY(auto snapshot,
           catalogue_.table_snapshot(context,
                                     stream.id,
                                     std::numeric_limits<std::int64_t>::min(),
                                     std::numeric_limits<std::int64_t>::max(),
                                     parts_total));
    std::erase_if(snapshot.parts,
                  [this](const PartInfo& part) { return damaged_parts_.contains(part.id); });
    const auto groups = plan_compactions(snapshot.parts, clock_.now(), options_.plan);
    std::set<std::string> merging;
    for (const auto& group : groups) {
        meters_->backlog.add(static_cast<double>(group.parts.size()));
        for (const auto& part : group.parts) {
            merging.insert(part.id);
        }
    }
    MS_TRY(const auto packed, packer_.run_stream(context, snapshot, merging, options_.pace));
    report.packs_written += packed;
    snapshot.parts.clear();
    for (const auto& group : groups) {
        MS_TRY_VOID(context.check());
        if (const auto fits = check_fits(group); !fits) {
            ++report.groups_postponed;
            log_warn("a merge of parts waits", {{"reason", fits.error().message()}});
            continue;
        }
        const auto done = run_group(context, snapshot, group);
        if (done && *done) {
            ++report.groups_merged;
            ++report.parts_written;
            report.parts_replaced += static_cast<std::int64_t>(group.parts.size());
        } else if (done) {
            ++report.groups_held_elsewhere;
        } else if (context.check()) {  // Otherwise the server stops.
            ++report.failures;
            note_failure(snapshot.stream, group, done.error());
        }
    }
    return {};
}

Result<bool> Compactor::rewrite_part(const RequestContext& context,
                                     const StreamSnapshot& stream,
                                     const PartInfo& part) {
    MS_TRY_VOID(context.check());
    const auto group = group_of_one(part);
    MS_TRY_VOID(check_fits(group));
    if (!part.dump.empty()) {
        MS_TRY_VOID(catalogue_.restore_part_dump(context, part.dump));
    }
    return run_group(context, stream, group);
}

/// Whether there are memory and disk for the merge now.
Result<> Compactor::check_fits(const CompactionGroup& group) {
    const auto bytes = static_cast<std::int64_t>(merge_bytes(group.parts));
    MemoryReservation wanted(memory_);
    MS_TRY_VOID(wanted.resize(bytes));
    MS_TRY(const auto space, fs_.space(options_.scratch_directory));
    if (space.available_bytes < 2 * group.bytes) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("{} has {} bytes of free space, the merge needs {}",
                                 options_.scratch_directory,
                                 space.available_bytes,
                                 2 * group.bytes));
    }
    return {};
}

Result<bool> Compactor::run_group(const RequestContext& context,
                                  const StreamSnapshot& stream,
                                  const CompactionGroup& group) {
    const auto name = lease_name(stream.stream.id, group.bucket);
    MS_TRY(auto held, leases_.acquire(context, name));
    if (!held.has_value()) {
        return false;
    }
    Work work{.context = context,
              .stream = stream,
              .group = group,
              .id = make_ulid(clock_.now(), random_),
              .held = std::move(*held),
              .pace = WorkPace(options_.pace, clock_),
              .step = {},
              .object_keys = {},
              .part = {}};
    work.step = [this, &work](std::uint64_t bytes) -> Result<> {
        MS_TRY_VOID(work.pace.pause(work.context, bytes));
        return leases_.keep(work.context, work.held);
    };
    auto done = run_leased(work);
    meters_->cpu.add(work.pace.cpu_seconds());
    leases_.release(context, work.held);
    MS_TRY_VOID(std::move(done));
    return true;
}

void Compactor::note_failure(const StreamInfo& stream,
                             const CompactionGroup& group,
                             const Error& error) {
    const auto code = error.code();
    meters_
        ->failures(code == ErrorCode::kCorruption    ? "damaged"
                   : code == ErrorCode::kConflict    ? "conflict"
                   : code == ErrorCode::kUnavailable ? "store"
                                                     : "other")
        .add();
    if (code == ErrorCode::kConflict) {
        log_info("a merge of parts was overtaken",
                 {{"stream", stream.name}, {"reason", error.message()}});
        return;
    }
    log_error("a merge of parts failed; the parts stay as they are",
              {{"stream", stream.name}, {"error", error.message()}});
    if (code != ErrorCode::kCorruption || damaged_parts_.size() >= kDamagedPartsMax) {
        return;
    }
    // The error names the part.
    for (const auto& part : group.parts) {
        if (error.message().find(part.id) != std::string::npos) {
            damaged_parts_.insert(part.id);
        }
    }
}

Result<> Compactor::run_leased(Work& work) {
    MS_PASS_FAILPOINT(compaction_begin);
    MS_TRY_VOID(leases_.clear_intents(work.context, work.held.lease.name));
    auto done = merge_group(work);
    if (!done && work.has_intent) {
        // Otherwise whoever gets the lease next does it.
        const CompactionIntent intent{.compaction_id = work.id,
                                      .stream = work.stream.stream.id,
                                      .lease = work.held.lease.name,
                                      .epoch = work.held.lease.epoch,
                                      .object_keys = work.object_keys};
        if (const auto cleared = leases_.clear_intent(work.context, intent); !cleared) {
            log_warn("objects of a failed merge stay until its lease is taken again",
                     {{"error", cleared.error().message()}});
        }
    }
    return done;
}

Result<> Compactor::merge_group(Work& work) {
    const auto started = clock_.steady_now();
    MS_TRY(auto scratch,
           ScratchFile::create(fs_, join_path(options_.scratch_directory, work.id + ".parquet")));
    MS_TRY(auto merged,
           merge_parts(
               work.context,
               objects_,
               {.parts = work.group.parts, .schema = work.stream.schema, .writer = options_.writer},
               scratch.file(),
               work.step,
               memory_));
    MS_PASS_FAILPOINT(compaction_merged);
    const auto file_bytes = merged.file_bytes;
    const auto file_xxh3 = merged.file_xxh3;
    const auto key = part_object_key(work.stream.stream, merged.time_max_ns, work.id);
    work.part = describe_part(work.group, work.id, std::move(merged));
    FileRange range(scratch.file(), file_bytes);
    MS_TRY(work.part.footer_xxh3, read_footer_xxh3(range));
    MS_TRY(const auto file, PartReader::open(range, work.stream.schema, memory_));

    work.object_keys.push_back(key);
    const auto indexes = index_objects(*file);
    for (std::size_t i = 0; i < indexes.size(); ++i) {
        work.object_keys.push_back(index_object_key(key, i));
    }
    // From here on an error may have left it behind.
    work.has_intent = true;
    MS_TRY_VOID(catalogue_.add_compaction_intent(work.context,
                                                 {.compaction_id = work.id,
                                                  .stream = work.stream.stream.id,
                                                  .lease = work.held.lease.name,
                                                  .epoch = work.held.lease.epoch,
                                                  .object_keys = work.object_keys,
                                                  .created_us = floor_us(clock_.now().value)}));
    MS_PASS_FAILPOINT(compaction_intent_recorded);
    MS_TRY_VOID(objects_.put_file(work.context, key, scratch.path()));
    MS_PASS_FAILPOINT(compaction_part_put);
    work.part.objects.push_back({.kind = "parquet",
                                 .key = key,
                                 .bytes = static_cast<std::int64_t>(file_bytes),
                                 .xxh3 = file_xxh3});
    MS_TRY_VOID(work.step(file_bytes));
    MS_TRY_VOID(store_indexes(work, *file, indexes));
    MS_TRY_VOID(verify_stored(work));
    MS_PASS_FAILPOINT(compaction_verified);
    MS_TRY_VOID(commit(work));
    meters_->groups.add();
    meters_->replaced.add(static_cast<double>(work.group.parts.size()));
    meters_->rows.add(static_cast<double>(work.part.rows));
    meters_->bytes.add(static_cast<double>(file_bytes));
    log_info("parts were merged",
             {{"stream", work.stream.stream.name},
              {"parts", work.group.parts.size()},
              {"rows", work.part.rows},
              {"bytes_before", work.group.bytes},
              {"bytes", file_bytes},
              {"part", work.id},
              {"took_ms", (clock_.steady_now().value - started.value) / 1'000'000}});
    return {};
}

/// The index objects of a part, in their order: one, or of a large part one for the values of all
/// its rows, so that an id is looked up in one place, and several for its texts, each for some
/// rows.
std::vector<Compactor::IndexObject> Compactor::index_objects(const PartReader& file) const {
    if (!options_.writes_index) {
        return {};
    }
    const auto spans = index_spans(file, options_.index_rows_max);
    if (spans.size() == 1) {
        return {{.scope = IndexScope::kAll, .groups = spans[0]}};
    }
    std::vector<IndexObject> objects{
        {.scope = IndexScope::kValues, .groups = {.begin = 0, .end = file.groups()}}};
    for (const auto& span : spans) {
        objects.push_back({.scope = IndexScope::kTexts, .groups = span});
    }
    return objects;
}

Result<> Compactor::store_indexes(Work& work,
                                  PartReader& file,
                                  const std::vector<IndexObject>& objects) {
    for (std::size_t i = 0; i < objects.size(); ++i) {
        MS_TRY(const auto index,
               index_part(file,
                          objects[i].groups,
                          objects[i].scope,
                          {.text_fields = work.stream.stream.settings.full_text_fields,
                           .table_seed = random_.next_u64(),
                           .id_rows_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(
                               options_.index_rows_max * 3, kSidecarRowsMax))},
                          work.step,
                          memory_));
        const auto& key = work.object_keys[1 + i];
        MS_TRY_VOID(objects_.put(work.context, key, index));
        MS_PASS_FAILPOINT(compaction_index_put);
        work.part.objects.push_back(
            {.kind = objects[i].scope == IndexScope::kValues ? "values" : "index",
             .key = key,
             .bytes = static_cast<std::int64_t>(index.size()),
             .xxh3 = XXH3_64bits(index.data(), index.size())});
        MS_TRY_VOID(work.step(index.size()));
    }
    return {};
}

/// The old parts go when the new one is live: it is read back whole before.
Result<> Compactor::verify_stored(Work& work) {
    for (const auto& object : work.part.objects) {
        ObjectVerification verification(objects_, object);
        while (!verification.is_done()) {
            auto read = verification.read_next(work.context, kVerifyBytes);
            if (!read) {
                // It is no part yet: nobody has lost anything, and the next try makes another.
                return Error(ErrorCode::kUnavailable,
                             fmt::format("what was stored is not what was written: {}",
                                         read.error().message()));
            }
            MS_TRY_VOID(work.step(*read));
        }
    }
    return {};
}

Result<> Compactor::commit(Work& work) {
    CompactionCommit commit{.compaction_id = work.id,
                            .stream = work.stream.stream.id,
                            .lease = work.held.lease,
                            .replaced = {},
                            .parts = {work.part}};
    for (const auto& part : work.group.parts) {
        commit.replaced.push_back(part.id);
    }
    for (int tries_left = kCommitTriesMax - 1;; --tries_left) {
        auto done = catalogue_.commit_compaction(work.context, commit);
        if (done) {
            break;
        }
        // It may have happened; the next try, or clearing its intent, tells.
        if (done.error().code() != ErrorCode::kUnavailable || tries_left == 0) {
            return done;
        }
    }
    work.has_intent = false;
    MS_PASS_FAILPOINT(compaction_committed);
    return {};
}

Result<> Compactor::clear_abandoned(const RequestContext& context) {
    return leases_.clear_abandoned(context);
}

}  // namespace molesignal
