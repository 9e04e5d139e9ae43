#include "roles/doctor.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "compaction/verify_part.h"
#include "metadata/open_catalogue.h"
#include "metadata/sqlite/sqlite_file_state.h"
#include "roles/open_stores.h"
#include "wal/wal_inspect.h"

namespace molesignal {
namespace {

constexpr std::int64_t kPartsPerPage = 500;
constexpr std::int64_t kRemovedPartsMax = 1'000'000;
constexpr std::uint64_t kReadBytes = 4U << 20U;
constexpr std::uint64_t kMiB = 1U << 20U;
constexpr std::string_view kProbePrefix = "_probe/";

/// The time of the ULID that ends the key, in ms since 1970; nothing if it is no key of ours.
std::optional<std::int64_t> time_of_key(std::string_view key) {
    constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
    constexpr std::size_t kTimeDigits = 10;
    const auto name = key.substr(key.rfind('/') + 1);
    if (name.size() < kTimeDigits) {
        return std::nullopt;
    }
    std::int64_t time = 0;
    for (const char c : name.substr(0, kTimeDigits)) {
        const auto digit = kDigits.find(c);
        if (digit == std::string_view::npos) {
            return std::nullopt;
        }
        time = time * 32 + static_cast<std::int64_t>(digit);
    }
    return time;
}

class Examination {
public:
    Examination(const RequestContext& context,
                const Config& config,
                const ExaminationOptions& options,
                FileSystem& fs,
                Clock& clock,
                Random& random)
        : context_(context),
          config_(config),
          options_(options),
          fs_(fs),
          clock_(clock),
          random_(random) {}

    Result<std::vector<Finding>> run() {
        look_at_directory();
        look_at_log();
        open_both();
        if (catalogue_ != nullptr) {
            look_at_catalogue();
            compare_log();
            look_at_parts();
        }
        if (knows_all_keys_ && objects_.store != nullptr) {
            look_for_orphans();
        }
        MS_TRY_VOID(context_.check());
        return std::move(findings_);
    }

private:
    void add(FindingLevel level, std::string_view area, std::string text) {
        findings_.push_back({.level = level, .area = std::string(area), .text = std::move(text)});
    }

    /// The first few by name, the rest as a number.
    void add_all(FindingLevel level, std::string_view area, const std::vector<std::string>& texts) {
        for (std::size_t i = 0; i < std::min(texts.size(), options_.named_max); ++i) {
            add(level, area, texts[i]);
        }
        if (texts.size() > options_.named_max) {
            add(level, area, fmt::format("and {} more", texts.size() - options_.named_max));
        }
    }

    void look_at_directory();
    void look_at_log();
    void open_both();
    void look_at_catalogue();
    void compare_log();
    void look_at_id_packs(std::vector<std::string>& wrong);
    void look_at_parts();
    enum class Pass : std::uint8_t { kCount = 1, kLook = 2 };
    bool look_at_table(Pass pass, std::vector<std::string>& wrong);
    void look_at_dumps(Pass pass, std::vector<std::string>& wrong);
    bool is_live(const PartDump& dump);
    void look_at_dump(const PartDump& dump, Pass pass, std::vector<std::string>& wrong);
    bool note_dumps();
    void count_bytes(const PartInfo& part);
    void look_at_part(const PartInfo& part, std::vector<std::string>& wrong);
    void check_part_row(const PartInfo& part, std::vector<std::string>& wrong) const;
    std::string check_object(const PartObject& object);
    /// Flushes and compactions that take too long.
    struct OldIntents {
        std::size_t flushes = 0;
        std::size_t compactions = 0;
    };
    /// Takes the keys of all intents; nothing if the catalogue cannot be read.
    std::optional<OldIntents> note_intents();
    bool note_other_keys();
    void look_for_orphans();
    bool is_local() const { return config_.store.object.backend == ObjectBackend::kLocal; }
    bool is_sqlite() const { return config_.store.meta.backend == MetaBackend::kSqlite; }

    const RequestContext& context_;
    const Config& config_;
    const ExaminationOptions& options_;
    FileSystem& fs_;
    Clock& clock_;
    Random& random_;
    std::vector<Finding> findings_;
    std::optional<WalInspection> log_;
    MetricRegistry metrics_;
    OpenObjectStore objects_;
    std::unique_ptr<Catalogue> catalogue_;
    std::map<ShardId, ShardInfo> shards_;
    std::set<std::string> keys_;
    std::map<std::string, PartDump> dumps_;  ///< By id.
    bool knows_all_parts_ = true;
    bool knows_all_keys_ = false;
    std::uint64_t bytes_done_ = 0;
    std::uint64_t bytes_total_ = 0;
    std::uint64_t objects_done_ = 0;
};

void Examination::look_at_directory() {
    const auto& directory = config_.node.data_dir;
    const auto exists = fs_.exists(directory);
    if (!exists || !*exists) {
        add(FindingLevel::kFail,
            "directory",
            exists ? fmt::format("there is no {}; name it by --data-dir or --config", directory)
                   : exists.error().message());
        return;
    }
    if (const auto entries = fs_.list(directory); !entries) {
        add(FindingLevel::kFail, "directory", entries.error().message());
    }
    if (const auto locked = fs_.lock_directory(directory); locked) {
        add(FindingLevel::kOk, "directory", fmt::format("{}: no server is running", directory));
    } else if (locked.error().code() == ErrorCode::kConflict) {
        add(FindingLevel::kOk, "directory", fmt::format("{}: a server is running", directory));
    } else {
        add(FindingLevel::kFail,
            "directory",
            fmt::format("{} cannot be used: {}", directory, locked.error().message()));
    }
    const auto space = fs_.space(directory);
    if (!space) {
        add(FindingLevel::kFail, "directory", space.error().message());
        return;
    }
    const auto wanted =
        static_cast<std::uint64_t>(config_.wal.segment_size_mb + config_.wal.reserve_mb) * kMiB;
    add(space->available_bytes < wanted ? FindingLevel::kWarn : FindingLevel::kOk,
        "directory",
        fmt::format("{} MiB of {} MiB are free{}",
                    space->available_bytes / kMiB,
                    space->total_bytes / kMiB,
                    space->available_bytes < wanted
                        ? fmt::format("; the log takes rows with {} MiB (a segment and "
                                      "wal.reserve_mb)",
                                      wanted / kMiB)
                        : ""));
}

void Examination::look_at_log() {
    const auto directory = resolve_path(config_, config_.wal.dir);
    auto log = inspect_wal(context_, fs_, directory);
    if (!log && log.error().code() == ErrorCode::kNotFound) {
        // A server that is running may have removed a segment in between.
        log = inspect_wal(context_, fs_, directory);
    }
    if (!log) {
        const bool missing = log.error().code() == ErrorCode::kNotFound;
        add(missing ? FindingLevel::kWarn : FindingLevel::kFail,
            "log",
            missing ? fmt::format("there is no log in {}", directory) : log.error().message());
        return;
    }
    add_all(FindingLevel::kFail, "log", log->damage);
    if (log->damage.empty()) {
        add(FindingLevel::kOk,
            "log",
            fmt::format("{} segments, {} rows that are not in parts",
                        log->segments.size(),
                        log->replay.rows));
    }
    log_ = *std::move(log);
}

void Examination::open_both() {
    if (is_local() &&
        !fs_.exists(resolve_path(config_, config_.store.object.root)).value_or(false)) {
        add(FindingLevel::kFail,
            "objects",
            fmt::format("there is no {} (store.object.root)",
                        resolve_path(config_, config_.store.object.root)));
    } else if (auto opened =
                   open_object_store(context_, config_, StoreUse::kLook, fs_, clock_, random_)) {
        objects_ = std::move(*opened);
    } else {
        add(FindingLevel::kFail, "objects", opened.error().message());
    }
    const auto path = resolve_path(config_, config_.store.meta.path);
    auto opened = is_sqlite() ? open_sqlite_catalogue_for_reading(path, clock_, random_)
                              : open_catalogue(config_, clock_, random_);
    if (!opened) {
        const bool is_older = opened.error().code() == ErrorCode::kConflict;
        add(is_older ? FindingLevel::kWarn : FindingLevel::kFail,
            "catalogue",
            opened.error().message());
        return;
    }
    catalogue_ = std::move(*opened);
    if (objects_.store != nullptr) {
        catalogue_->use_part_dumps(make_part_dump_reader(
            plain_object_reader(*objects_.store, clock_, metrics_), nullptr, clock_, metrics_));
    }
    if (is_sqlite()) {
        const auto damage = find_journal_damage(fs_, path);
        if (!damage || !damage->empty()) {
            add(FindingLevel::kFail,
                "catalogue",
                fmt::format("{}-wal: {}", path, damage ? *damage : damage.error().message()));
        }
    }
}

void Examination::look_at_catalogue() {
    const auto wrong = catalogue_->check_integrity(context_);
    if (!wrong) {
        add(FindingLevel::kFail, "catalogue", wrong.error().message());
        catalogue_.reset();
        return;
    }
    add_all(FindingLevel::kFail, "catalogue", *wrong);
    const auto shards = catalogue_->list_live_shards(context_);
    if (!shards) {
        add(FindingLevel::kFail, "catalogue", shards.error().message());
        catalogue_.reset();
        return;
    }
    for (const auto& shard : *shards) {
        shards_[shard.id] = shard;
    }
    const auto old = note_intents();
    if (!old.has_value()) {
        catalogue_.reset();
        return;
    }
    if (old->flushes > 0) {
        add(FindingLevel::kWarn,
            "catalogue",
            fmt::format("{} flushes were begun more than an hour ago and did not end; the next "
                        "start of the server that began them undoes them",
                        old->flushes));
    }
    if (old->compactions > 0) {
        add(FindingLevel::kWarn,
            "catalogue",
            fmt::format("{} compactions were begun more than a day ago and did not end; the next "
                        "compactor that takes their lease undoes them",
                        old->compactions));
    }
    if (wrong->empty()) {
        add(FindingLevel::kOk,
            "catalogue",
            fmt::format("{}: whole, {} live shards", catalogue_->describe(), shards_.size()));
    }
}

std::optional<Examination::OldIntents> Examination::note_intents() {
    const auto flushes = catalogue_->list_flush_intents(context_);
    const auto compactions = catalogue_->list_compaction_intents(context_);
    if (!flushes || !compactions) {
        add(FindingLevel::kFail,
            "catalogue",
            !flushes ? flushes.error().message() : compactions.error().message());
        return std::nullopt;
    }
    constexpr std::int64_t kHourUs = 3'600'000'000;
    const auto now_us = clock_.now().value / 1000;
    OldIntents old;
    for (const auto& intent : *flushes) {
        keys_.insert(intent.object_keys.begin(), intent.object_keys.end());
        old.flushes += now_us - intent.created_us > kHourUs ? 1 : 0;
    }
    for (const auto& intent : *compactions) {
        keys_.insert(intent.object_keys.begin(), intent.object_keys.end());
        old.compactions += now_us - intent.created_us > 24 * kHourUs ? 1 : 0;
    }
    return old;
}

/// The log truncates what the catalogue has committed, never more.
void Examination::compare_log() {
    if (!log_.has_value() || catalogue_ == nullptr) {
        return;
    }
    std::vector<std::string> wrong;
    for (const auto& queue : log_->queues) {
        const auto shard = shards_.find(ShardId{queue.queue.value});
        if (shard == shards_.end()) {
            if (queue.rows > 0) {
                wrong.push_back(
                    fmt::format("the log has {} rows of shard {}, which the catalogue "
                                "does not have",
                                queue.rows,
                                queue.queue.value));
            }
        } else if (queue.truncated > shard->second.checkpoint) {
            wrong.push_back(fmt::format(
                "the log says that the rows of shard {} below {} are in parts, the catalogue has "
                "them below {} only: it is older than the log, or lost its last transactions",
                queue.queue.value,
                queue.truncated.value,
                shard->second.checkpoint.value));
        }
    }
    add_all(FindingLevel::kFail, "catalogue", wrong);
}

void Examination::check_part_row(const PartInfo& part, std::vector<std::string>& wrong) const {
    std::int64_t rows = 0;
    for (const auto& group : part.row_groups) {
        rows += group.rows;
    }
    // Of a part of several shards nothing says which of them its last position is of.
    const auto shard = shards_.find(part.shard);
    const bool fits = part.rows > 0 && part.time_min_us <= part.time_max_us &&
                      part.position_begin < part.position_end && !part.objects.empty() &&
                      (part.row_groups.empty() || rows == part.rows) &&
                      (shard == shards_.end() || part.position_end <= shard->second.checkpoint);
    if (!fits) {
        wrong.push_back(fmt::format("part {}: its rows, times or positions do not fit", part.id));
    }
}

std::string Examination::check_object(const PartObject& object) {
    if (!options_.reads_objects) {
        const auto meta = objects_.store->head(context_, object.key);
        if (!meta) {
            return meta.error().message();
        }
        if (!meta->has_value()) {
            return fmt::format("object {}: it is missing", object.key);
        }
        const auto size = static_cast<std::int64_t>((*meta)->size_bytes);
        return size == object.bytes
                   ? ""
                   : fmt::format("object {}: it has {} bytes, the catalogue says {}",
                                 object.key,
                                 size,
                                 object.bytes);
    }
    ObjectVerification verification(*objects_.store, object);
    while (!verification.is_done()) {
        const auto read = verification.read_next(context_, kReadBytes);
        if (!read) {
            return read.error().message();
        }
        bytes_done_ += *read;
        if (options_.progress) {
            options_.progress(bytes_done_, bytes_total_);
        }
    }
    return {};
}

void Examination::look_at_part(const PartInfo& part, std::vector<std::string>& wrong) {
    check_part_row(part, wrong);
    for (const auto& object : part.objects) {
        keys_.insert(object.key);
        if (objects_.store == nullptr) {
            continue;
        }
        ++objects_done_;
        if (const auto problem = check_object(object); !problem.empty()) {
            wrong.push_back(fmt::format("part {}: {}", part.id, problem));
        }
    }
}

void Examination::look_at_id_packs(std::vector<std::string>& wrong) {
    std::string after;
    while (context_.check()) {
        const auto packs = catalogue_->list_id_packs(context_, after, kPartsPerPage);
        if (!packs) {
            add(FindingLevel::kFail, "catalogue", packs.error().message());
            return;
        }
        if (packs->empty()) {
            return;
        }
        after = packs->back().id;
        for (const auto& pack : *packs) {
            keys_.insert(pack.object.key);
            if (objects_.store == nullptr) {
                continue;
            }
            ++objects_done_;
            bytes_total_ += static_cast<std::uint64_t>(pack.object.bytes);
            if (const auto problem = check_object(pack.object); !problem.empty()) {
                wrong.push_back(fmt::format("pack {}: {}", pack.id, problem));
            }
        }
    }
}

void Examination::count_bytes(const PartInfo& part) {
    for (const auto& object : part.objects) {
        bytes_total_ += static_cast<std::uint64_t>(object.bytes);
    }
}

bool Examination::look_at_table(Pass pass, std::vector<std::string>& wrong) {
    std::string after;
    while (context_.check()) {
        const auto parts = catalogue_->list_parts(context_, after, kPartsPerPage);
        if (!parts) {
            add(FindingLevel::kFail, "catalogue", parts.error().message());
            return false;
        }
        if (parts->empty()) {
            break;
        }
        after = parts->back().id;
        for (const auto& part : *parts) {
            if (pass == Pass::kLook) {
                look_at_part(part, wrong);
            } else {
                count_bytes(part);
            }
        }
    }
    return true;
}

/// Takes over the live dumps that are not known yet.
bool Examination::note_dumps() {
    const auto dumps = catalogue_->list_part_dumps(context_, {});
    if (!dumps) {
        add(FindingLevel::kFail, "catalogue", dumps.error().message());
        return false;
    }
    for (const auto& dump : *dumps) {
        dumps_.try_emplace(dump.id, dump);
        keys_.insert(dump.object.key);
    }
    return true;
}

void Examination::look_at_dumps(Pass pass, std::vector<std::string>& wrong) {
    for (const auto& [id, dump] : dumps_) {
        if (!context_.check()) {
            break;
        }
        look_at_dump(dump, pass, wrong);
    }
}

bool Examination::is_live(const PartDump& dump) {
    const auto now = catalogue_->list_part_dumps(context_, {.stream = dump.stream});
    return !now || std::ranges::find(*now, dump.id, &PartDump::id) != now->end();
}

void Examination::look_at_dump(const PartDump& dump, Pass pass, std::vector<std::string>& wrong) {
    PartInfo list;
    list.objects.push_back(dump.object);
    if (pass == Pass::kCount) {
        count_bytes(list);
    }
    if (objects_.store == nullptr) {
        return;
    }
    const auto parts = catalogue_->read_part_dump(context_, dump);
    if (pass == Pass::kCount) {
        if (parts) {
            std::ranges::for_each(**parts, [this](const auto& part) { count_bytes(part); });
        }
        return;
    }
    ++objects_done_;
    auto problem = check_object(dump.object);
    if (problem.empty() && !parts) {
        problem = parts.error().message();
    }
    if (!problem.empty()) {
        // Its parts may be in the table again since we read it.
        knows_all_parts_ = false;
        if (!is_live(dump)) {
            return;
        }
        wrong.push_back(
            fmt::format("the list of {} parts of {}: {}; without it their rows are "
                        "not found",
                        dump.parts,
                        dump.partition,
                        problem));
        return;
    }
    for (const auto& part : **parts) {
        look_at_part(part, wrong);
    }
}

void Examination::look_at_parts() {
    if (catalogue_ == nullptr) {
        return;
    }
    std::vector<std::string> wrong;
    // First their sizes, for the progress; parts that come later are looked at all the same. A part
    // moves from the table into a dump and back while we look: so dumps are noted before the table
    // is read and again behind it.
    for (const auto pass : {Pass::kCount, Pass::kLook}) {
        if (!note_dumps() || !look_at_table(pass, wrong) || !note_dumps()) {
            return;
        }
        look_at_dumps(pass, wrong);
    }
    look_at_id_packs(wrong);
    add_all(FindingLevel::kFail, "objects", wrong);
    if (wrong.empty() && objects_.store != nullptr) {
        add(FindingLevel::kOk,
            "objects",
            fmt::format(
                "{}: {} objects, {} bytes, {}",
                objects_.store->describe(),
                objects_done_,
                bytes_total_,
                options_.reads_objects ? "all as they were written" : "sizes only were looked at"));
    }
    knows_all_keys_ = note_other_keys() && knows_all_parts_;
}

/// Objects of parts that are removed and wait for retention.
bool Examination::note_other_keys() {
    const auto removed = catalogue_->list_removed_parts(context_, 0, kRemovedPartsMax);
    if (!removed) {
        add(FindingLevel::kFail, "catalogue", removed.error().message());
        return false;
    }
    for (const auto& part : *removed) {
        for (const auto& object : part.objects) {
            keys_.insert(object.key);
        }
    }
    const auto packs = catalogue_->list_removed_id_packs(context_, 0, kRemovedPartsMax);
    if (!packs) {
        add(FindingLevel::kFail, "catalogue", packs.error().message());
        return false;
    }
    for (const auto& pack : *packs) {
        keys_.insert(pack.object.key);
    }
    const auto removed_dumps = catalogue_->list_removed_part_dumps(context_, 0, kRemovedPartsMax);
    if (!removed_dumps) {
        add(FindingLevel::kFail, "catalogue", removed_dumps.error().message());
        return false;
    }
    for (const auto& dump : *removed_dumps) {
        keys_.insert(dump.object.key);
    }
    return note_intents().has_value();
}

void Examination::look_for_orphans() {
    const auto before_ms =
        clock_.now().value / 1'000'000 -
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.orphan_age).count();
    std::vector<std::string> orphans;
    std::uint64_t bytes = 0;
    const auto listed = objects_.store->list(context_, "", [&](const ObjectMeta& object) {
        const auto time = time_of_key(object.key);
        if (!keys_.contains(object.key) && !object.key.starts_with(kProbePrefix) &&
            (!time.has_value() || *time < before_ms)) {
            orphans.push_back(fmt::format("no part names object {}", object.key));
            bytes += object.size_bytes;
        }
        return context_.check().has_value();
    });
    if (!listed) {
        add(FindingLevel::kWarn, "orphans", listed.error().message());
        return;
    }
    add_all(FindingLevel::kWarn, "orphans", orphans);
    add(FindingLevel::kOk,
        "orphans",
        fmt::format("{} objects, {} bytes, that no part names", orphans.size(), bytes));
}

}  // namespace

Result<std::vector<Finding>> examine(const RequestContext& context,
                                     const Config& config,
                                     const ExaminationOptions& options,
                                     FileSystem& fs,
                                     Clock& clock,
                                     Random& random) {
    return Examination(context, config, options, fs, clock, random).run();
}

}  // namespace molesignal
