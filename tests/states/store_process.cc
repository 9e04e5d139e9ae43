#include "tests/states/store_process.h"

#include <atomic>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <xxhash.h>

#include "io/file_system.h"
#include "metadata/open_catalogue.h"
#include "storage/part_dump/part_dump_reader.h"
#include "tests/states/part_rows.h"

namespace molesignal {
namespace {

constexpr std::int64_t kRowNanos = 1000;
constexpr std::int64_t kDayNanos = 86'400LL * 1'000'000'000;
constexpr const char* kDirectory = "data";

}  // namespace

StoreProcess::StoreProcess(FileSystem& fs, const StoreSettings& settings, LedgerSink sink)
    : fs_(fs),
      settings_(settings),
      sink_(std::move(sink)),
      clock_(UnixNanos{settings.now_ns}),
      random_(settings.seed),
      context_(RequestContext::background(clock_, "states")),
      mount_(fs),
      next_row_(settings.next_row) {}

StoreProcess::~StoreProcess() {
    (void)stop();
}

Result<> StoreProcess::start() {
    MS_TRY_VOID(ensure_durable_directory(fs_, kDirectory));
    MS_TRY(objects_, LocalObjectStore::open(context_, fs_, "data/objects", random_));
    faulty_objects = std::make_unique<FaultyObjectStore>(*objects_);
    if (fault_of_objects.has_value()) {
        faulty_objects->arm(*fault_of_objects);
    }
    MS_TRY(catalogue_, open_sqlite_catalogue(mount_.database("data/meta.db"), clock_, random_));
    faulty_catalogue = std::make_unique<FaultyCatalogue>(*catalogue_);
    if (fault_of_catalogue.has_value()) {
        faulty_catalogue->arm(*fault_of_catalogue);
    }
    faulty_catalogue->use_part_dumps(std::make_shared<CachedPartDumpReader>(
        std::make_shared<ObjectReader>(
            *faulty_objects, ObjectReaderOptions{}, nullptr, nullptr, clock_, metrics_),
        PartDumpReaderOptions{},
        clock_,
        metrics_));
    MS_TRY_VOID(faulty_catalogue->migrate(context_));
    MS_TRY(const auto org, faulty_catalogue->ensure_organization(context_, "default"));
    org_ = org.id;
    IngesterOptions options;
    options.wal_directory = "data/wal";
    options.wal.segment_bytes = settings_.segment_bytes;
    options.wal.total_bytes_max = settings_.total_bytes_max;
    options.wal.reserve_bytes = settings_.reserve_bytes;
    options.flush_interval = std::chrono::hours(1);
    options.flush_threads = settings_.flush_threads;
    MS_TRY(ingester_,
           Ingester::open(context_,
                          options,
                          fs_,
                          *faulty_catalogue,
                          *faulty_objects,
                          clock_,
                          random_,
                          metrics_,
                          MemoryBudget::make_root("states", "none", 1LL << 30),
                          [](std::uint64_t) {}));
    CompactorOptions merging;
    merging.plan.parts_min = 2;
    merging.packer.parts_min = 2;
    merging.scratch_directory = "data/compaction";
    merging.holder.name = make_ulid(clock_.now(), random_);
    MS_TRY(compactor_,
           Compactor::make(merging,
                           *faulty_catalogue,
                           *faulty_objects,
                           fs_,
                           clock_,
                           random_,
                           metrics_,
                           MemoryBudget::make_root("states", "none", 1LL << 30)));
    dumper_ = std::make_unique<PartDumper>(
        PartDumperOptions{.merges = false,
                          .cold_after_days = 0,
                          .holder = {.name = make_ulid(clock_.now(), random_)}},
        *faulty_catalogue,
        *faulty_objects,
        clock_,
        random_,
        metrics_,
        nullptr);
    // Rows of the test's are as old as it likes: many parts may be due at once.
    retention_ = std::make_unique<Retention>(
        RetentionOptions{.share_max = 1.0}, *faulty_catalogue, *faulty_objects, clock_, metrics_);
    return {};
}

Result<> StoreProcess::stop() {
    Result<> closed;
    retention_.reset();
    dumper_.reset();
    compactor_.reset();
    if (ingester_ != nullptr) {
        closed = ingester_->close(context_);
        ingester_.reset();
    }
    faulty_catalogue.reset();
    catalogue_.reset();  // With its reader of dumps.
    faulty_objects.reset();
    objects_.reset();
    return closed;
}

Result<IngestReceipt> StoreProcess::ingest(const std::string& stream,
                                           std::uint32_t rows,
                                           std::chrono::nanoseconds age,
                                           CommitMode mode) {
    const auto first = next_row_.fetch_add(rows);
    const auto time = clock_.now().value - age.count();
    RowBatch batch;
    std::uint64_t bytes = 0;
    for (std::uint32_t row = 0; row < rows; ++row) {
        const auto number = first + row;
        const auto text = row_text(number);
        batch.timestamps.push_back(time + row * kRowNanos);
        batch.columns[batch.find_or_add("n", FieldType::kInt64)].append_fixed(row, number);
        batch.columns[batch.find_or_add("text", FieldType::kString)].append_text(row, text);
        // A field whose type changes, for the schema to follow.
        if (number % 3 == 0) {
            batch.columns[batch.find_or_add("v", FieldType::kInt64)].append_fixed(row, number);
        } else {
            batch.columns[batch.find_or_add("v", FieldType::kString)].append_text(row, "v");
        }
        bytes += text.size();
    }
    batch.finish();
    std::vector<RowBatch> batches;
    batches.push_back(std::move(batch));
    sink_([=](RowLedger& ledger) { ledger.sent(first, rows, stream, time); });
    auto receipt = ingester_->ingest(
        context_, org_, StreamType::kLogs, stream, std::move(batches), bytes, mode);
    if (receipt) {
        sink_([=](RowLedger& ledger) { ledger.acknowledged(first); });
    }
    return receipt;
}

Result<> StoreProcess::flush_all() {
    std::atomic<bool> done = false;
    Result<> flushed;
    std::thread waiter([&] {
        flushed = ingester_->flush_all(context_);
        done = true;
    });
    while (!done) {
        if (ingester_->stats().failing_shards > 0) {
            advance(std::chrono::seconds(1));
            ingester_->maintain();
        }
        std::this_thread::yield();
    }
    waiter.join();
    return flushed;
}

Result<> StoreProcess::drop(const std::string& stream) {
    MS_TRY(const auto info, catalogue().find_stream(context_, org_, StreamType::kLogs, stream));
    if (!info.has_value()) {
        return Error(ErrorCode::kNotFound, fmt::format("no stream '{}'", stream));
    }
    sink_([=](RowLedger& ledger) { ledger.dropping(stream); });
    if (auto deleted = catalogue().delete_stream(context_, org_, info->id); !deleted) {
        ingester_->refresh_stream(info->id);  // As the API does: it may have happened.
        return deleted;
    }
    sink_([=](RowLedger& ledger) { ledger.dropped(stream); });
    return ingester_->drop_stream(context_, info->id);
}

Result<> StoreProcess::expire(const std::string& stream, std::int32_t days) {
    MS_TRY(const auto info, catalogue().find_stream(context_, org_, StreamType::kLogs, stream));
    auto settings = info->settings;
    settings.retention_days = days;
    const auto before = clock_.now().value - days * kDayNanos;
    sink_([=](RowLedger& ledger) { ledger.expiring(stream, before); });
    MS_TRY_VOID(
        catalogue().update_stream_settings(context_, org_, info->id, info->settings, settings));
    retention_days_[stream] = days;
    MS_TRY(const auto report, retention_->run_once(context_));
    if (report.failures > 0) {
        return Error(ErrorCode::kUnavailable, "retention failed");
    }
    sink_([=](RowLedger& ledger) { ledger.expired(stream, before); });
    return {};
}

Result<RetentionReport> StoreProcess::retain() {
    for (const auto& [stream, days] : retention_days_) {
        const auto before = clock_.now().value - days * kDayNanos;
        sink_([name = stream, before](RowLedger& ledger) { ledger.expiring(name, before); });
    }
    return retention_->run_once(context_);
}

Result<CompactionReport> StoreProcess::merge() {
    return compactor_->run_once(context_);
}

Result<PartDumpReport> StoreProcess::dump(std::int64_t dumps_max) {
    dumper_->options().partitions_max = dumps_max;
    return dumper_->run_once(context_);
}

void StoreProcess::advance(std::chrono::nanoseconds by) {
    clock_.advance(by);
    const auto now = clock_.now().value;
    sink_([=](RowLedger& ledger) { ledger.set_now(now); });
}

void StoreProcess::await(const std::function<bool()>& done) {
    while (!done()) {
        advance(std::chrono::seconds(1));
        ingester_->maintain();
        std::this_thread::yield();
    }
}

Result<std::vector<FoundRow>> StoreProcess::find() {
    std::vector<FoundRow> rows;
    MS_TRY(const auto streams, catalogue().list_streams(context_, org_));
    for (const auto& stream : streams) {
        auto hot = ingester_->hot_snapshot(stream.id);
        std::int64_t total = 0;
        MS_TRY(const auto snapshot,
               catalogue().snapshot(context_, stream.id, INT64_MIN, INT64_MAX, total));
        std::vector<std::pair<ShardId, Position>> checkpoints;
        for (const auto& shard : snapshot.shards) {
            checkpoints.emplace_back(shard.id, shard.checkpoint);
        }
        drop_flushed_rows(hot, checkpoints);
        const auto before = rows.size();
        for (const auto& chunk : hot.chunks) {
            const auto* numbers = chunk.find("n", FieldType::kInt64);
            const auto* texts = chunk.find("text", FieldType::kString);
            for (auto row = chunk.begin; row < chunk.rows; ++row) {
                rows.push_back({.number = numbers->fixed_at(row),
                                .stream = {},
                                .time_ns = chunk.timestamps[row],
                                .text = std::string(texts->text_at(row))});
            }
        }
        MS_TRY_VOID(find_in_parts(snapshot, rows));
        for (auto at = before; at < rows.size(); ++at) {
            rows[at].stream = stream.name;
        }
    }
    return rows;
}

Result<> StoreProcess::find_in_parts(const StreamSnapshot& snapshot, std::vector<FoundRow>& rows) {
    for (const auto& part : snapshot.parts) {
        const auto& object = part.objects.at(0);
        MS_TRY(const auto bytes, faulty_objects->get(context_, object.key, 0, UINT64_MAX));
        if (static_cast<std::int64_t>(bytes.size()) != object.bytes ||
            XXH3_64bits(bytes.data(), bytes.size()) != object.xxh3) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("object {} is not the one that was stored", object.key));
        }
        MS_TRY(const auto found, read_part_rows(bytes, object.xxh3));
        if (static_cast<std::int64_t>(found->size()) != part.rows) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("object {} has {} rows, the catalogue says {}",
                                     object.key,
                                     found->size(),
                                     part.rows));
        }
        rows.insert(rows.end(), found->begin(), found->end());
    }
    return {};
}

Result<std::vector<std::string>> StoreProcess::leftovers() {
    std::vector<std::string> left;
    std::set<std::string> known;
    MS_TRY(const auto intents, catalogue().list_flush_intents(context_));
    for (const auto& intent : intents) {
        left.push_back(fmt::format("flush {} of shard {}", intent.flush_id, intent.shard.value));
        known.insert(intent.object_keys.begin(), intent.object_keys.end());
    }
    MS_TRY(const auto merges, catalogue().list_compaction_intents(context_));
    for (const auto& intent : merges) {
        left.push_back("compaction " + intent.compaction_id);
        known.insert(intent.object_keys.begin(), intent.object_keys.end());
    }
    const auto note = [&known](const std::vector<PartInfo>& parts) {
        for (const auto& part : parts) {
            for (const auto& object : part.objects) {
                known.insert(object.key);
            }
        }
    };
    MS_TRY(const auto streams, catalogue().list_streams(context_, org_));
    for (const auto& stream : streams) {
        std::int64_t total = 0;
        MS_TRY(const auto snapshot,
               catalogue().snapshot(context_, stream.id, INT64_MIN, INT64_MAX, total));
        note(snapshot.parts);
    }
    MS_TRY(auto packs, catalogue().list_id_packs(context_, "", INT32_MAX));
    MS_TRY(const auto removed_packs, catalogue().list_removed_id_packs(context_, 0, INT32_MAX));
    packs.insert(packs.end(), removed_packs.begin(), removed_packs.end());
    for (const auto& pack : packs) {
        known.insert(pack.object.key);
    }
    MS_TRY(const auto removed, catalogue().list_removed_parts(context_, 0, INT32_MAX));
    note(removed);
    MS_TRY(const auto dumps, catalogue().list_part_dumps(context_, {}));
    MS_TRY(const auto removed_dumps, catalogue().list_removed_part_dumps(context_, 0, INT32_MAX));
    for (const auto& dump : dumps) {
        // Those of a deleted stream are in no snapshot, and wait for retention.
        MS_TRY(const auto parts, catalogue().read_part_dump(context_, dump));
        note(*parts);
        known.insert(dump.object.key);
    }
    for (const auto& dump : removed_dumps) {
        known.insert(dump.object.key);
    }
    MS_TRY_VOID(faulty_objects->list(context_, "", [&](const ObjectMeta& object) {
        if (!known.contains(object.key)) {
            left.push_back("object " + object.key);
        }
        return true;
    }));
    MS_TRY(const auto temporaries, fs_.list("data/objects/.tmp"));
    for (const auto& entry : temporaries) {
        left.push_back("temporary file " + entry.name);
    }
    MS_TRY(const auto scratch, fs_.list("data/compaction"));
    for (const auto& entry : scratch) {
        left.push_back("file of a merge " + entry.name);
    }
    return left;
}

}  // namespace molesignal
