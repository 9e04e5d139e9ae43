#include "storage/part_dump/part_dump_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/mutex.h"
#include "storage/part_dump/part_list_file.h"

namespace molesignal {
namespace {

/// A decoded list and Arrow's copy of it while it is decoded, in sizes of the object (zstd).
constexpr std::int64_t kDecodedPerByte = 16;

std::size_t memory_of(const PartInfo& part) {
    auto bytes = sizeof(PartInfo) + part.id.capacity() + part.stream.value.capacity() +
                 part.sort_order.capacity() + part.dump.capacity() +
                 part.fields.capacity() * sizeof(FieldId) +
                 part.row_groups.capacity() * sizeof(RowGroupInfo);
    for (const auto& object : part.objects) {
        bytes += sizeof(PartObject) + object.kind.capacity() + object.key.capacity();
    }
    for (const auto& zone : part.zone_maps) {
        bytes += sizeof(ZoneMap) + zone.min.capacity() + zone.max.capacity();
    }
    return bytes;
}

Error damaged(const PartDump& dump, std::string_view what) {
    return {
        ErrorCode::kCorruption,
        fmt::format(
            "the list of the parts of {}: object {}: {}", dump.partition, dump.object.key, what)};
}

}  // namespace

/// Lists that one caller wants, and who reads them.
struct CachedPartDumpReader::Batch {
    Batch(RequestContext wanted_by, std::span<const PartDump> wanted)
        : context(std::move(wanted_by)),
          dumps(wanted.begin(), wanted.end()),
          lists(wanted.size()) {}

    const RequestContext context;
    const std::vector<PartDump> dumps;  ///< A helper may begin when the caller is gone.
    Mutex mutex;
    CondVar ended;
    std::size_t next MS_GUARDED_BY(mutex) = 0;
    std::size_t running MS_GUARDED_BY(mutex) = 0;
    std::vector<PartList> lists MS_GUARDED_BY(mutex);
    std::optional<Error> error MS_GUARDED_BY(mutex);
};

CachedPartDumpReader::CachedPartDumpReader(std::shared_ptr<ObjectReader> objects,
                                           const PartDumpReaderOptions& options,
                                           Clock& clock,
                                           MetricRegistry& metrics)
    : objects_(std::move(objects)),
      options_(options),
      clock_(clock),
      reads_(metrics.counter("parquet_file_meta_dump_query_hits_total",
                             "Lists of dumped parts that were wanted")),
      load_seconds_(
          metrics.histogram("parquet_file_meta_dump_query_load_seconds",
                            "Time to get and decode a list of dumped parts that was not in memory",
                            MetricRegistry::latency_buckets())) {
    if (options_.threads > 0) {
        pool_ = std::make_unique<ThreadPool>(
            ThreadPool::Options{.name = "part-lists", .threads_max = options_.threads});
    }
}

CachedPartDumpReader::~CachedPartDumpReader() = default;

Result<std::vector<PartList>> CachedPartDumpReader::read(const RequestContext& context,
                                                         std::span<const PartDump> dumps) {
    const auto batch = std::make_shared<Batch>(context, dumps);
    if (pool_ != nullptr) {
        // The caller reads, too: a pool that is busy or full costs time only.
        for (std::size_t i = 1; i < std::min(dumps.size(), options_.threads + 1); ++i) {
            if (!pool_->submit([this, batch] { work(*this, *batch); })) {
                break;
            }
        }
    }
    work(*this, *batch);
    const MutexLock lock(batch->mutex);
    while (batch->running > 0) {
        batch->ended.wait(batch->mutex);
    }
    if (batch->error.has_value()) {
        return *std::move(batch->error);
    }
    return std::move(batch->lists);
}

void CachedPartDumpReader::work(CachedPartDumpReader& reader, Batch& batch) {
    while (true) {
        std::size_t at = 0;
        {
            const MutexLock lock(batch.mutex);
            if (batch.next == batch.dumps.size() || batch.error.has_value()) {
                return;
            }
            at = batch.next++;
            ++batch.running;
        }
        auto list = reader.read_one(batch.context, batch.dumps[at]);
        const MutexLock lock(batch.mutex);
        --batch.running;
        if (list) {
            batch.lists[at] = *std::move(list);
        } else if (!batch.error.has_value()) {
            batch.error = std::move(list).error();
        }
        batch.ended.notify_all();
    }
}

Result<PartList> CachedPartDumpReader::read_one(const RequestContext& context,
                                                const PartDump& dump) {
    MS_TRY_VOID(context.check());
    reads_.add();
    const ObjectName object{.key = dump.object.key,
                            .bytes = static_cast<std::uint64_t>(dump.object.bytes),
                            .xxh3 = dump.object.xxh3};
    ReadTally tally;
    MS_TRY(auto value,
           objects_->load(
               context,
               object,
               CachedKind::kPartList,
               [&] { return load(context, dump, tally); },
               tally));
    return std::static_pointer_cast<const std::vector<PartInfo>>(value);
}

Result<ObjectReader::Loaded> CachedPartDumpReader::load(const RequestContext& context,
                                                        const PartDump& dump,
                                                        ReadTally& tally) {
    const auto started = clock_.steady_now();
    auto list = load_once(context, dump, tally);
    if (!list && list.error().code() == ErrorCode::kCorruption) {
        // What a cache has may be damaged, where the store's object is not.
        objects_->forget(dump.object.key);
        list = load_once(context, dump, tally);
    }
    if (!list) {
        objects_->forget(dump.object.key);
        return std::move(list).error();
    }
    load_seconds_.observe(static_cast<double>((clock_.steady_now() - started).count()) * 1e-9);
    std::size_t bytes = 0;
    for (const auto& part : **list) {
        bytes += memory_of(part);
    }
    return ObjectReader::Loaded{*std::move(list), bytes};
}

Result<PartList> CachedPartDumpReader::load_once(const RequestContext& context,
                                                 const PartDump& dump,
                                                 ReadTally& tally) {
    const auto bytes = dump.object.bytes;
    MemoryReservation memory(options_.memory);
    if (options_.memory != nullptr) {
        MS_TRY_VOID(memory.resize(bytes * kDecodedPerByte));
    }
    const ObjectName object{.key = dump.object.key,
                            .bytes = static_cast<std::uint64_t>(bytes),
                            .xxh3 = dump.object.xxh3};
    auto read = objects_->read(context, object, 0, object.bytes, tally);
    if (!read) {
        const auto code = read.error().code();
        if (code == ErrorCode::kNotFound || code == ErrorCode::kCorruption) {
            return damaged(dump,
                           code == ErrorCode::kNotFound ? "it is missing" : read.error().message());
        }
        return std::move(read).error();
    }
    if (XXH3_64bits(read->bytes.data(), read->bytes.size()) != dump.object.xxh3) {
        return damaged(dump, "its hash is not the catalogue's");
    }
    auto parts = decode_part_list(read->bytes, nullptr);
    if (!parts) {
        return parts.error().code() == ErrorCode::kCorruption
                   ? damaged(dump, parts.error().message())
                   : std::move(parts).error();
    }
    std::int64_t rows = 0;
    for (auto& part : *parts) {
        part.dump = dump.id;
        rows += part.rows;
    }
    if (static_cast<std::int64_t>(parts->size()) != dump.parts || rows != dump.rows) {
        return damaged(dump,
                       fmt::format("it has {} parts with {} rows, the catalogue says {} with {}",
                                   parts->size(),
                                   rows,
                                   dump.parts,
                                   dump.rows));
    }
    return std::make_shared<const std::vector<PartInfo>>(*std::move(parts));
}

}  // namespace molesignal
