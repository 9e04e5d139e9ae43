#include "compaction/id_packer.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "compaction/part_input.h"
#include "compaction/verify_part.h"
#include "index/id_pack.h"
#include "metadata/part_key.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(id_pack_built);
MS_DEFINE_FAILPOINT(id_pack_intent_recorded);
MS_DEFINE_FAILPOINT(id_pack_put);
MS_DEFINE_FAILPOINT(id_pack_committed);

constexpr int kCommitTriesMax = 3;
constexpr std::uint64_t kVerifyBytes = std::uint64_t{4} << 20U;
/// So many packs of less than a quarter of what a pack may have are put together: what comes of
/// them is not small, or one.
constexpr std::size_t kSmallPacksMax = 4;

/// The index object that has the ids of all rows of a part, or nullptr.
const PartObject* find_ids(const PartInfo& part) {
    if (const auto* values = find_object(part, "values"); values != nullptr) {
        return values;
    }
    return find_object(part, "index");
}

/// An index without its tail: a thousand of them are open at a time.
Result<SidecarReader> open_directory(RangeReader& source) {
    const auto bytes = std::min<std::uint64_t>(source.size(), kSidecarTailBytes);
    MS_TRY(auto tail, source.read(source.size() - bytes, bytes));
    MS_TRY(const auto needed, directory_tail_bytes(tail, source.size()));
    if (needed < tail.size()) {
        tail.erase(tail.begin(), tail.end() - static_cast<std::ptrdiff_t>(needed));
    }
    return SidecarReader::open(source, std::move(tail));
}

/// Errors that say that an index is of no use, as opposed to a store that does not answer.
bool is_useless(const Error& error) {
    return error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kNotFound ||
           error.code() == ErrorCode::kInvalidArgument;
}

}  // namespace

/// The packing of one stream under its lease.
struct IdPacker::Work {
    RequestContext context;
    const StreamSnapshot& stream;
    CompactionLeases::Held held;
    WorkPace pace;
    std::vector<std::string> replaced;  ///< Packs that the next commit removes.
};

/// The index of a candidate.
struct IdPacker::OpenPart {
    const PartInfo* part = nullptr;
    std::unique_ptr<ObjectRange> source;
    std::unique_ptr<SidecarReader> index;
};

struct IdPacker::Plan {
    std::vector<const PartInfo*> candidates;  ///< To be packed, by time.
    std::vector<std::string> replaced;        ///< Packs that go.
};

IdPacker::IdPacker(const IdPackerOptions& options,
                   CompactionLeases& leases,
                   Catalogue& catalogue,
                   ObjectStore& objects,
                   Clock& clock,
                   Random& random,
                   MetricRegistry& metrics,
                   std::shared_ptr<MemoryBudget> memory)
    : options_(options),
      leases_(leases),
      catalogue_(catalogue),
      objects_(objects),
      clock_(clock),
      random_(random),
      memory_(std::move(memory)),
      packs_(metrics.counter("compactor_id_packs_total", "Packs of ids that were written")),
      failures_(metrics.counter("compactor_id_pack_failures_total",
                                "Streams whose ids could not be packed in a round")) {}

Result<std::int64_t> IdPacker::run_stream(const RequestContext& context,
                                          const StreamSnapshot& snapshot,
                                          const std::set<std::string>& merging,
                                          const WorkPaceOptions& pace) {
    if (options_.parts_min == 0 ||
        (snapshot.parts.size() < options_.parts_min && snapshot.id_packs.empty())) {
        return 0;
    }
    const auto run = [&]() -> Result<std::int64_t> {
        MS_TRY_VOID(learn_packs(context, snapshot));
        const auto todo = plan(snapshot, merging);
        if (todo.candidates.empty() && todo.replaced.empty()) {
            return 0;
        }
        MS_TRY(
            auto held,
            leases_.acquire(context, fmt::format("compaction/{}/ids", snapshot.stream.id.value)));
        if (!held.has_value()) {
            return 0;
        }
        Work work{.context = context,
                  .stream = snapshot,
                  .held = std::move(*held),
                  .pace = WorkPace(pace, clock_),
                  .replaced = todo.replaced};
        auto done = run_leased(work, todo);
        leases_.release(context, work.held);
        return done;
    };
    auto done = run();
    forget_gone(snapshot);
    if (!done) {
        MS_TRY_VOID(context.check());
        failures_.add();
        log_warn("the ids of a stream's parts could not be packed; queries ask each part",
                 {{"stream", snapshot.stream.name}, {"error", done.error().message()}});
        return 0;
    }
    return done;
}

/// Reads which parts the packs are of that are new to us.
Result<> IdPacker::learn_packs(const RequestContext& context, const StreamSnapshot& snapshot) {
    auto& known = parts_of_[snapshot.stream.id.value];
    for (const auto& pack : snapshot.id_packs) {
        if (known.contains(pack.id)) {
            continue;
        }
        ObjectRange source(context, objects_, pack.object);
        auto index = open_directory(source);
        if (index) {
            known[pack.id] = index->directory().parts;
            continue;
        }
        if (!is_useless(index.error())) {
            return std::move(index).error();
        }
        log_error("a pack of ids is damaged; it is made anew",
                  {{"key", pack.object.key}, {"error", index.error().message()}});
        known[pack.id] = {};
    }
    return {};
}

IdPacker::Plan IdPacker::plan(const StreamSnapshot& snapshot,
                              const std::set<std::string>& merging) const {
    const auto known = parts_of_.find(snapshot.stream.id.value);
    const auto hopeless = unpackable_.find(snapshot.stream.id.value);
    std::set<std::string_view> live;
    for (const auto& part : snapshot.parts) {
        live.insert(part.id);
    }
    Plan plan;
    std::set<std::string_view> packed;
    std::vector<const IdPackInfo*> small;
    const auto cover = [&](const IdPackInfo& pack) {
        const auto& parts = known->second.at(pack.id);
        packed.insert(parts.begin(), parts.end());
    };
    // Which parts dumps list is not looked up for this: their packs stay as they are.
    const auto has_dumped = [&](const IdPackInfo& pack) {
        return std::ranges::any_of(snapshot.dumps, [&](const PartDump& dump) {
            return dump.time_max_us >= pack.time_min_us && dump.time_min_us <= pack.time_max_us;
        });
    };
    for (const auto& pack : snapshot.id_packs) {
        if (has_dumped(pack)) {
            cover(pack);
            continue;
        }
        const auto& parts = known->second.at(pack.id);
        const auto left = static_cast<std::size_t>(
            std::ranges::count_if(parts, [&](const auto& id) { return live.contains(id); }));
        if (left == 0 || left * 2 < parts.size()) {
            plan.replaced.push_back(pack.id);
        } else if (parts.size() < options_.parts_max / kSmallPacksMax &&
                   static_cast<std::uint64_t>(pack.object.bytes) <
                       options_.table_bytes_max / kSmallPacksMax) {
            small.push_back(&pack);
        } else {
            cover(pack);
        }
    }
    for (const auto* pack : small) {
        if (small.size() < kSmallPacksMax) {
            cover(*pack);
        } else {
            plan.replaced.push_back(pack->id);
        }
    }
    for (const auto& part : snapshot.parts) {
        if (!packed.contains(part.id) && !merging.contains(part.id) && find_ids(part) != nullptr &&
            (hopeless == unpackable_.end() || !hopeless->second.contains(part.id))) {
            plan.candidates.push_back(&part);
        }
    }
    if (plan.candidates.size() < options_.parts_min) {
        plan.candidates.clear();
    }
    std::ranges::sort(plan.candidates, {}, [](const PartInfo* part) {
        return std::pair(part->time_max_us, std::string_view(part->id));
    });
    return plan;
}

Result<std::int64_t> IdPacker::run_leased(Work& work, const Plan& plan) {
    MS_TRY_VOID(leases_.clear_intents(work.context, work.held.lease.name));
    std::int64_t written = 0;
    std::vector<OpenPart> open;
    std::uint64_t bytes = 0;
    const auto write = [&]() -> Result<> {
        if (open.size() >= options_.parts_min) {
            MS_TRY_VOID(write_pack(work, open));
            ++written;
        }
        open.clear();
        bytes = 0;
        return {};
    };
    auto& hopeless = unpackable_[work.stream.stream.id.value];
    for (const auto* part : plan.candidates) {
        MS_TRY_VOID(work.pace.pause(work.context, kSidecarTailBytes));
        MS_TRY_VOID(leases_.keep(work.context, work.held));
        auto source = std::make_unique<ObjectRange>(work.context, objects_, *find_ids(*part));
        auto index = open_directory(*source);
        if (!index && !is_useless(index.error())) {
            return std::move(index).error();
        }
        const auto table =
            index && index->rows() == part->rows ? id_table_bytes(index->directory()) : 0;
        if (table == 0 || table > options_.part_bytes_max) {
            hopeless.insert(part->id);
            continue;
        }
        if (open.size() == options_.parts_max || bytes + table > options_.table_bytes_max) {
            MS_TRY_VOID(write());
        }
        bytes += table;
        open.push_back({.part = part,
                        .source = std::move(source),
                        .index = std::make_unique<SidecarReader>(std::move(*index))});
    }
    MS_TRY_VOID(write());
    if (!work.replaced.empty()) {
        MS_TRY_VOID(commit(work, std::nullopt));
    }
    return written;
}

Result<> IdPacker::write_pack(Work& work, std::span<const OpenPart> parts) {
    std::vector<IdPackInput> inputs;
    IdPackInfo pack{.id = make_ulid(clock_.now(), random_),
                    .object = {.kind = "id_pack"},
                    .time_min_us = INT64_MAX,
                    .time_max_us = INT64_MIN};
    for (const auto& part : parts) {
        inputs.push_back(
            {.part = part.part->id, .index = part.index.get(), .source = part.source.get()});
        pack.time_min_us = std::min(pack.time_min_us, part.part->time_min_us);
        pack.time_max_us = std::max(pack.time_max_us, part.part->time_max_us);
    }
    const auto built = build_id_pack(inputs, memory_);
    if (!built) {
        if (is_useless(built.error())) {
            // The error names the part.
            for (const auto& part : parts) {
                if (built.error().message().find(part.part->id) != std::string::npos) {
                    unpackable_[work.stream.stream.id.value].insert(part.part->id);
                }
            }
        }
        return built.error();
    }
    MS_PASS_FAILPOINT(id_pack_built);
    MS_TRY_VOID(work.pace.pause(work.context, built->size()));
    MS_TRY_VOID(leases_.keep(work.context, work.held));
    pack.object.key = id_pack_object_key(work.stream.stream, pack.id);
    pack.object.bytes = static_cast<std::int64_t>(built->size());
    pack.object.xxh3 = XXH3_64bits(built->data(), built->size());
    const CompactionIntent intent{.compaction_id = pack.id,
                                  .stream = work.stream.stream.id,
                                  .lease = work.held.lease.name,
                                  .epoch = work.held.lease.epoch,
                                  .object_keys = {pack.object.key},
                                  .created_us = clock_.now().value / 1000};
    MS_TRY_VOID(catalogue_.add_compaction_intent(work.context, intent));
    MS_PASS_FAILPOINT(id_pack_intent_recorded);
    auto done = store(work, pack, *built);
    if (done) {
        packs_.add();
        log_info("the ids of parts were packed",
                 {{"stream", work.stream.stream.name},
                  {"parts", parts.size()},
                  {"bytes", pack.object.bytes},
                  {"pack", pack.id}});
        return {};
    }
    // Otherwise whoever gets the lease next does it.
    if (const auto cleared = leases_.clear_intent(work.context, intent); !cleared) {
        log_warn("the object of a failed pack stays until its lease is taken again",
                 {{"error", cleared.error().message()}});
    }
    return done;
}

Result<> IdPacker::store(Work& work, const IdPackInfo& pack, Bytes content) {
    MS_TRY_VOID(objects_.put(work.context, pack.object.key, content));
    MS_PASS_FAILPOINT(id_pack_put);
    ObjectVerification verification(objects_, pack.object);
    while (!verification.is_done()) {
        const auto read = verification.read_next(work.context, kVerifyBytes);
        if (!read) {
            return Error(
                ErrorCode::kUnavailable,
                fmt::format("what was stored is not what was written: {}", read.error().message()));
        }
        MS_TRY_VOID(work.pace.pause(work.context, *read));
    }
    return commit(work, pack);
}

/// Makes `pack` live, if there is one, and removes the packs that it replaces.
Result<> IdPacker::commit(Work& work, const std::optional<IdPackInfo>& pack) {
    const IdPackCommit commit{.compaction_id = pack.has_value() ? pack->id : std::string(),
                              .stream = work.stream.stream.id,
                              .lease = work.held.lease,
                              .replaced = work.replaced,
                              .pack = pack};
    for (int tries_left = kCommitTriesMax - 1;; --tries_left) {
        auto done = catalogue_.commit_id_pack(work.context, commit);
        if (done) {
            break;
        }
        // It may have happened; the next try, or clearing its intent, tells.
        if (done.error().code() != ErrorCode::kUnavailable || tries_left == 0) {
            return done;
        }
    }
    work.replaced.clear();
    MS_PASS_FAILPOINT(id_pack_committed);
    return {};
}

/// Drops what is remembered of packs and parts that are gone, but what this round may have added.
void IdPacker::forget_gone(const StreamSnapshot& snapshot) {
    const auto& stream = snapshot.stream.id.value;
    if (const auto hopeless = unpackable_.find(stream); hopeless != unpackable_.end()) {
        std::set<std::string> left;
        for (const auto& part : snapshot.parts) {
            if (hopeless->second.contains(part.id)) {
                left.insert(part.id);
            }
        }
        hopeless->second = std::move(left);
        if (hopeless->second.empty()) {
            unpackable_.erase(hopeless);
        }
    }
    const auto known = parts_of_.find(stream);
    if (known == parts_of_.end()) {
        return;
    }
    std::erase_if(known->second, [&](const auto& entry) {
        return std::ranges::find(snapshot.id_packs, entry.first, &IdPackInfo::id) ==
               snapshot.id_packs.end();
    });
    if (known->second.empty()) {
        parts_of_.erase(known);
    }
}

}  // namespace molesignal
