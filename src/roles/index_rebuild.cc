#include "roles/index_rebuild.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "common/mutex.h"
#include "compaction/compactor.h"
#include "compaction/verify_part.h"
#include "metadata/open_catalogue.h"
#include "roles/open_stores.h"

namespace molesignal {
namespace {

constexpr std::int64_t kPartsPerPage = 500;
constexpr std::uint64_t kReadBytes = 4U << 20U;
constexpr std::int64_t kMegabyte = 1 << 20;
/// Between two looks at parts that another compactor is at work on.
constexpr std::chrono::seconds kBusyLook{1};
constexpr std::string_view kDirectory = "compaction-rebuild";

class IndexRebuild {
public:
    IndexRebuild(const RequestContext& context,
                 const Config& config,
                 const IndexRebuildOptions& options,
                 FileSystem& fs,
                 Clock& clock,
                 Random& random)
        : context_(context),
          config_(config),
          options_(options),
          fs_(fs),
          clock_(clock),
          random_(random) {}

    Result<IndexRebuildReport> run() {
        MS_TRY_VOID(prepare());
        MS_TRY_VOID(choose_parts());
        std::vector<Candidate> busy;
        for (const auto& candidate : candidates_) {
            MS_TRY_VOID(look_at(candidate, busy));
        }
        const auto deadline = clock_.steady_now() + options_.busy_wait;
        while (!busy.empty() && clock_.steady_now() < deadline) {
            MS_TRY_VOID(pause());
            for (const auto& candidate : std::exchange(busy, {})) {
                MS_TRY_VOID(look_at(candidate, busy));
            }
        }
        for (const auto& candidate : busy) {
            fail(candidate, "another compactor is at work on the parts of its day; try again");
        }
        return std::move(report_);
    }

private:
    /// A part that was live when the work began.
    struct Candidate {
        std::size_t stream = 0;  ///< Index in streams_.
        std::string dump = {};   ///< Id of the dump that listed it; empty: it was in the table.
        std::string part;
        std::string problem = {};  ///< Why it cannot be looked at; empty: it can.
    };
    struct Stream {
        StreamId id;
        std::string name;  ///< "default/app"
    };

    Result<> prepare();
    Result<> open_compactor();
    Result<> choose_parts();
    Result<> choose_parts_of(const StreamInfo& stream, const std::string& org);
    Result<> choose_dumped_parts(const StreamInfo& stream, std::set<std::string>& known);
    Result<> look_at(const Candidate& candidate, std::vector<Candidate>& busy);
    Result<> rebuild(const Candidate& candidate,
                     const PartInfo& part,
                     const std::string& reason,
                     std::vector<Candidate>& busy);
    Result<std::optional<PartInfo>> find_part(const Candidate& candidate);
    Result<std::optional<PartInfo>> find_in_dumps(const Candidate& candidate);
    Result<std::string> reason_for(const PartInfo& part);
    Result<> pause();

    IndexFinding finding(const Candidate& candidate, std::string reason) const {
        return {.stream = streams_[candidate.stream].name,
                .part = candidate.part,
                .reason = std::move(reason)};
    }
    void end() {
        ++report_.parts;
        if (options_.progress) {
            options_.progress(report_.parts, candidates_.size());
        }
    }
    void fail(const Candidate& candidate, std::string reason) {
        report_.failures.push_back(finding(candidate, std::move(reason)));
        end();
    }
    void succeed(const Candidate& candidate, const std::string& reason) {
        ++report_.rebuilt;
        if (options_.found) {
            options_.found(finding(candidate, reason));
        }
        end();
    }

    const RequestContext& context_;
    const Config& config_;
    const IndexRebuildOptions& options_;
    FileSystem& fs_;
    Clock& clock_;
    Random& random_;
    MetricRegistry metrics_;
    std::unique_ptr<DirectoryLock> lock_;  ///< Null for a dry run.
    OpenObjectStore objects_;
    std::unique_ptr<Catalogue> catalogue_;
    std::unique_ptr<Compactor> compactor_;  ///< Null for a dry run.
    std::vector<Stream> streams_;
    std::vector<Candidate> candidates_;
    IndexRebuildReport report_;
};

Result<> IndexRebuild::prepare() {
    const auto& directory = config_.node.data_dir;
    MS_TRY(const bool exists, fs_.exists(directory));
    if (!exists) {
        return Error(ErrorCode::kNotFound,
                     fmt::format("there is no {}; name it by --data-dir or --config", directory));
    }
    const auto root = resolve_path(config_, config_.store.object.root);
    if (config_.store.object.backend == ObjectBackend::kLocal) {
        MS_TRY(const bool has_objects, fs_.exists(root));
        if (!has_objects) {
            return Error(ErrorCode::kNotFound,
                         fmt::format("there is no {} (store.object.root)", root));
        }
    }
    MS_TRY(objects_, open_object_store(context_, config_, StoreUse::kLook, fs_, clock_, random_));
    if (options_.dry_run && config_.store.meta.backend == MetaBackend::kSqlite) {
        MS_TRY(catalogue_,
               open_sqlite_catalogue_for_reading(
                   resolve_path(config_, config_.store.meta.path), clock_, random_));
    } else {
        MS_TRY(catalogue_, open_catalogue_beside(context_, config_, fs_, clock_, random_));
    }
    catalogue_->use_part_dumps(make_part_dump_reader(
        plain_object_reader(*objects_.store, clock_, metrics_), nullptr, clock_, metrics_));
    return options_.dry_run ? Result<>() : open_compactor();
}

Result<> IndexRebuild::open_compactor() {
    const auto directory = join_path(config_.node.data_dir, std::string(kDirectory));
    MS_TRY_VOID(fs_.create_directories(directory));
    auto lock = fs_.lock_directory(directory);
    if (!lock && lock.error().code() == ErrorCode::kConflict) {
        return Error(ErrorCode::kConflict,
                     fmt::format("another 'index rebuild' is under way in {}", directory));
    }
    MS_TRY(lock_, std::move(lock));
    const auto& config = config_.compactor;
    CompactorOptions options;
    options.pace = {.cpu_share = static_cast<double>(config.cpu_percent) / 100,
                    .bytes_per_second = static_cast<std::uint64_t>(config.bytes_per_second)};
    options.writer = {
        .zstd_level = static_cast<int>(config_.ingester.zstd_level),
        .rows_per_group = static_cast<std::uint64_t>(config_.ingester.row_group_rows)};
    options.index_rows_max =
        std::min(options.index_rows_max, index_rows_for(config.memory_mb * kMegabyte));
    options.scratch_directory = join_path(directory, "files");
    // Who has the lock knows that earlier runs are dead.
    const auto identity = lock_->identity();
    options.holder = {
        .name = fmt::format("index-rebuild/{}/{:016x}", identity, random_.next_u64()),
        .replaces = identity.empty() ? "" : fmt::format("index-rebuild/{}/", identity)};
    MS_TRY(compactor_,
           Compactor::make(
               options,
               *catalogue_,
               *objects_.store,
               fs_,
               clock_,
               random_,
               metrics_,
               MemoryBudget::make_root(
                   "rebuilding of indexes", "compactor.memory_mb", config.memory_mb * kMegabyte)));
    return compactor_->clear_abandoned(context_);
}

Result<> IndexRebuild::choose_parts() {
    MS_TRY(const auto organizations, catalogue_->list_organizations(context_));
    bool has_org = options_.org.empty();
    for (const auto& org : organizations) {
        if (!options_.org.empty() && org.slug != options_.org) {
            continue;
        }
        has_org = true;
        MS_TRY(const auto streams, catalogue_->list_streams(context_, org.id));
        for (const auto& stream : streams) {
            if (options_.stream.empty() || stream.name == options_.stream) {
                MS_TRY_VOID(choose_parts_of(stream, org.slug));
            }
        }
    }
    if (!has_org) {
        return Error(ErrorCode::kNotFound,
                     fmt::format("there is no organisation '{}'", options_.org));
    }
    if (!options_.stream.empty() && streams_.empty()) {
        return Error(
            ErrorCode::kNotFound,
            fmt::format(
                "there is no stream '{}'{}",
                options_.stream,
                options_.org.empty() ? "" : fmt::format(" in organisation '{}'", options_.org)));
    }
    return {};
}

Result<> IndexRebuild::choose_parts_of(const StreamInfo& stream, const std::string& org) {
    streams_.push_back({.id = stream.id, .name = fmt::format("{}/{}", org, stream.name)});
    // A part moves from the table into a dump and back while we look.
    std::set<std::string> known;
    MS_TRY_VOID(choose_dumped_parts(stream, known));
    std::string after;
    while (true) {
        MS_TRY_VOID(context_.check());
        MS_TRY(const auto page,
               catalogue_->list_stream_parts(context_, stream.id, after, kPartsPerPage));
        for (const auto& part : page) {
            if (known.insert(part.id).second) {
                candidates_.push_back({.stream = streams_.size() - 1, .part = part.id});
            }
            after = part.id;
        }
        if (page.size() < static_cast<std::size_t>(kPartsPerPage)) {
            return choose_dumped_parts(stream, known);
        }
    }
}

/// Those that are not known, and what is wrong with dumps that cannot be read.
Result<> IndexRebuild::choose_dumped_parts(const StreamInfo& stream, std::set<std::string>& known) {
    MS_TRY(const auto dumps, catalogue_->list_part_dumps(context_, {.stream = stream.id}));
    for (const auto& dump : dumps) {
        MS_TRY_VOID(context_.check());
        const auto parts = catalogue_->read_part_dump(context_, dump);
        if (!parts && known.insert(dump.id).second) {
            candidates_.push_back({.stream = streams_.size() - 1,
                                   .dump = dump.id,
                                   .part = fmt::format("list of {}", dump.partition),
                                   .problem = parts.error().message()});
        }
        for (const auto& part : parts ? **parts : std::vector<PartInfo>()) {
            if (known.insert(part.id).second) {
                candidates_.push_back(
                    {.stream = streams_.size() - 1, .dump = dump.id, .part = part.id});
            }
        }
    }
    return {};
}

/// The part as it is now; nothing if it is not live any more.
Result<std::optional<PartInfo>> IndexRebuild::find_part(const Candidate& candidate) {
    const auto& stream = streams_[candidate.stream].id;
    // All but the last character is less than an id, and greater than all but a few before it.
    auto after = candidate.part.substr(0, candidate.part.size() - 1);
    while (true) {
        MS_TRY(auto next, catalogue_->list_stream_parts(context_, stream, after, 1));
        if (next.empty() || next.front().id > candidate.part) {
            break;
        }
        if (next.front().id == candidate.part) {
            return std::optional(std::move(next.front()));
        }
        after = next.front().id;
    }
    return find_in_dumps(candidate);
}

/// In the dump where it was, or a newer one: dumps are written anew, and parts are brought back.
Result<std::optional<PartInfo>> IndexRebuild::find_in_dumps(const Candidate& candidate) {
    const auto& before = candidate.dump;
    MS_TRY(const auto dumps,
           catalogue_->list_part_dumps(
               context_,
               {.stream = streams_[candidate.stream].id,
                .after = before.empty() ? before : before.substr(0, before.size() - 1)}));
    for (const auto& dump : dumps) {
        MS_TRY(const auto parts, catalogue_->read_part_dump(context_, dump));
        const auto found = std::ranges::find(*parts, candidate.part, &PartInfo::id);
        if (found != parts->end()) {
            return std::optional(*found);
        }
    }
    return std::optional<PartInfo>();
}

/// Why the part is to have a new index; empty if it is not. An error: that cannot be said.
Result<std::string> IndexRebuild::reason_for(const PartInfo& part) {
    if (options_.all) {
        return std::string("all were asked for");
    }
    bool has_index = false;
    for (const auto& object : part.objects) {
        if (object.kind != "index" && object.kind != "values") {
            continue;
        }
        has_index = true;
        ObjectVerification verification(*objects_.store, object);
        while (!verification.is_done()) {
            const auto read = verification.read_next(context_, kReadBytes);
            if (!read && read.error().code() == ErrorCode::kCorruption) {
                return read.error().message();
            }
            if (!read) {
                return read.error();
            }
        }
    }
    return std::string(has_index ? "" : "it has no index");
}

Result<> IndexRebuild::look_at(const Candidate& candidate, std::vector<Candidate>& busy) {
    MS_TRY_VOID(context_.check());
    if (!candidate.problem.empty()) {
        fail(candidate, candidate.problem);
        return {};
    }
    MS_TRY(auto part, find_part(candidate));
    Result<std::string> reason = std::string();
    if (part) {
        reason = reason_for(*part);
        if (!reason || !reason->empty()) {
            // The objects of a part that is not live any more may go at any time.
            MS_TRY_VOID(context_.check());
            MS_TRY(part, find_part(candidate));
        }
    }
    if (!part) {
        ++report_.gone;
        end();
    } else if (!reason) {
        fail(candidate, reason.error().message());
    } else if (reason->empty()) {
        end();
    } else if (options_.dry_run) {
        succeed(candidate, *reason);
    } else {
        return rebuild(candidate, *part, *reason, busy);
    }
    return {};
}

Result<> IndexRebuild::rebuild(const Candidate& candidate,
                               const PartInfo& part,
                               const std::string& reason,
                               std::vector<Candidate>& busy) {
    // Without its parts: only the stream and its fields are wanted.
    std::int64_t parts_total = 0;
    constexpr auto kLatest = std::numeric_limits<std::int64_t>::max();
    constexpr auto kEarliest = std::numeric_limits<std::int64_t>::min();
    auto snapshot = catalogue_->snapshot(context_, part.stream, kLatest, kEarliest, parts_total);
    if (!snapshot && snapshot.error().code() == ErrorCode::kNotFound) {
        ++report_.gone;  // With its stream.
        end();
        return {};
    }
    MS_TRY(const auto stream, std::move(snapshot));
    const auto done = compactor_->rewrite_part(context_, stream, part);
    if (done && *done) {
        succeed(candidate, reason);
        return {};
    }
    MS_TRY_VOID(context_.check());
    if (done) {
        busy.push_back(candidate);
        return {};
    }
    MS_TRY(const auto now, find_part(candidate));
    if (!now) {
        ++report_.gone;
        end();
    } else if (done.error().code() == ErrorCode::kConflict) {
        busy.push_back(candidate);
    } else {
        fail(candidate, done.error().message());
    }
    return {};
}

Result<> IndexRebuild::pause() {
    Mutex mutex;
    CondVar never;
    const auto until = clock_.steady_now() + kBusyLook;
    while (clock_.steady_now() < until) {
        MS_TRY_VOID(context_.check());
        const MutexLock lock(mutex);
        clock_.wait_until(mutex, never, until);
    }
    return context_.check();
}

}  // namespace

Result<IndexRebuildReport> rebuild_indexes(const RequestContext& context,
                                           const Config& config,
                                           const IndexRebuildOptions& options,
                                           FileSystem& fs,
                                           Clock& clock,
                                           Random& random) {
    return IndexRebuild(context, config, options, fs, clock, random).run();
}

}  // namespace molesignal
