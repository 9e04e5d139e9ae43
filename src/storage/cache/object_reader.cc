#include "storage/cache/object_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "storage/cache/block_read.h"

namespace molesignal {

ObjectReader::ObjectReader(ObjectStore& objects,
                           const ObjectReaderOptions& options,
                           std::unique_ptr<MemoryCache> memory,
                           std::unique_ptr<DiskCache> disk,
                           Clock& clock,
                           MetricRegistry& metrics)
    : objects_(objects),
      options_(options),
      clock_(clock),
      memory_(std::move(memory)),
      disk_(std::move(disk)),
      ranges_(clock),
      values_(clock),
      merged_(metrics.counter("object_reads_merged_total",
                              "Reads of objects that were answered by another query's request")),
      ahead_(metrics.counter("object_reads_ahead_total",
                             "Ranges of objects that were read before a query asked for them")) {
    // A task that finds no place is not missed: the query reads the range itself.
    constexpr std::size_t kQueueTasksMax = 16;
    if (options_.read_ahead_threads > 0 && disk_ != nullptr) {
        pool_ = std::make_unique<ThreadPool>(
            ThreadPool::Options{.name = "read-ahead",
                                .threads_max = options_.read_ahead_threads,
                                .queue_tasks_max = kQueueTasksMax,
                                .setting = "cache.disk_cache.mode"});
    }
}

ObjectReader::~ObjectReader() {
    closing_.cancel();
    pool_.reset();
}

Result<ByteBuffer> ObjectReader::get(const RequestContext& context,
                                     const ObjectName& object,
                                     std::uint64_t offset,
                                     std::uint64_t length,
                                     ReadTally& tally) {
    MS_ASSERT(offset <= object.bytes);
    MS_ASSERT(length <= object.bytes - offset);
    // One byte more than there should be: a longer object is another one.
    const bool reaches_end = offset + length == object.bytes;
    auto content = objects_.get(context, object.key, offset, length + (reaches_end ? 1 : 0));
    if (!content) {
        // The store says so of an offset behind the object's end.
        return content.error().code() == ErrorCode::kInvalidArgument
                   ? Error(ErrorCode::kCorruption, "it is shorter than the catalogue says")
                   : std::move(content).error();
    }
    ++tally.gets;
    tally.bytes += static_cast<std::int64_t>(content->size());
    if (content->size() != length) {
        return Error(ErrorCode::kCorruption,
                     content->size() < length ? "it is shorter than the catalogue says"
                                              : "it is longer than the catalogue says");
    }
    return content;
}

Result<SharedBytes> ObjectReader::read(const RequestContext& context,
                                       const ObjectName& object,
                                       std::uint64_t offset,
                                       std::uint64_t length,
                                       ReadTally& tally) {
    if (disk_ != nullptr && length > 0) {
        return BlockRead(*this, context, object, tally).run(offset, length);
    }
    bool is_merged = false;
    MS_TRY(const auto value,
           ranges_.load(
               context,
               {.object = object.key, .offset = offset, .bytes = length},
               [] { return nullptr; },
               [&]() -> Result<Flights::Value> {
                   MS_TRY(auto content, get(context, object, offset, length, tally));
                   return std::make_shared<const ByteBuffer>(std::move(content));
               },
               is_merged));
    tally.hits += is_merged ? 1 : 0;
    merged_.add(is_merged ? 1 : 0);
    const auto content = std::static_pointer_cast<const ByteBuffer>(value);
    return SharedBytes{content, *content};
}

Result<MemoryCache::Value> ObjectReader::load(const RequestContext& context,
                                              const ObjectName& object,
                                              CachedKind kind,
                                              const std::function<Result<Loaded>()>& load,
                                              ReadTally& tally) {
    const MemoryCache::Key key{.object = ObjectHash::of(object.key), .kind = kind};
    if (memory_ == nullptr) {
        MS_TRY(auto loaded, load());
        return std::move(loaded.value);
    }
    if (auto known = memory_->find(key); known != nullptr) {
        ++tally.hits;
        return known;
    }
    bool is_merged = false;
    MS_TRY(auto value,
           values_.load(
               context,
               {.object = object.key, .offset = static_cast<std::uint64_t>(kind)},
               [&] { return memory_->find(key, MemoryCache::Look::kAgain); },
               [&]() -> Result<Flights::Value> {
                   MS_TRY(auto loaded, load());
                   if (loaded.bytes > 0) {
                       memory_->keep(key, loaded.value, loaded.bytes);
                   }
                   return std::move(loaded.value);
               },
               is_merged));
    tally.hits += is_merged ? 1 : 0;
    merged_.add(is_merged ? 1 : 0);
    return value;
}

void ObjectReader::read_ahead(const RequestContext& context,
                              const ObjectName& object,
                              std::uint64_t offset,
                              std::uint64_t length,
                              std::function<void(const ReadTally&)> done) {
    const auto memory = std::make_shared<MemoryReservation>(options_.memory);
    if (pool_ == nullptr || length == 0 ||
        (options_.memory != nullptr && !memory->grow(static_cast<std::int64_t>(length)))) {
        return;
    }
    // It may outlast the query, and is none of its waiting.
    constexpr std::chrono::seconds kLongest{5};
    auto limited = context;
    limited.cancel = closing_;
    limited.deadline = std::min(context.deadline, clock_.steady_now() + kLongest);
    const auto submitted = pool_->submit([this,
                                          context = std::move(limited),
                                          object,
                                          offset,
                                          length,
                                          memory,
                                          done = std::move(done)] {
        ReadTally tally;
        // Its error is the query's when that reads the range.
        (void)BlockRead(*this, context, object, tally).run(offset, length);
        done(tally);
    });
    ahead_.add(submitted ? 1 : 0);
}

void ObjectReader::forget(std::string_view key) {
    if (memory_ != nullptr) {
        memory_->forget(ObjectHash::of(key));
    }
    if (disk_ != nullptr) {
        disk_->forget(key);
    }
}

}  // namespace molesignal
