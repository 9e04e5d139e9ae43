#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "ingest/shard.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"
#include "parquet/part_plan.h"
#include "storage/memtable.h"

namespace molesignal {

struct FlusherOptions {
    std::uint64_t rows_per_group = 32'768;
    int zstd_level = 1;
    bool writes_index = true;  ///< An index sidecar for each part.
    /// Parts of one flush; more days than that share parts. Each costs a put and catalogue rows.
    std::size_t parts_max = 64;
};

/// Turns a frozen memtable into parts, exactly once (design §5.3): intent, objects, one catalogue
/// transaction. A retry with the same FlushAttempt uses the same flush id and object keys, goes on
/// behind the parts that are stored, and puts the same bytes again where an answer was lost.
///
/// Thread-safe; one shard is flushed by one thread at a time.
class Flusher {
public:
    Flusher(const FlusherOptions& options,
            Catalogue& catalogue,
            ObjectStore& objects,
            Clock& clock,
            Random& random,
            MetricRegistry& metrics,
            std::shared_ptr<MemoryBudget> memory);

    /// Flushes `frozen`; returns the shard's new checkpoint. On an error nothing is committed, or
    /// (kUnavailable) it is unknown; call again with the same shard to find out and finish.
    Result<Position> flush(const RequestContext& context, Shard& shard, const Memtable& frozen);

private:
    Counter& errors(std::string_view step);
    Result<> store_parts(const RequestContext& context, Shard& shard, const Memtable& frozen);
    Result<> encode_part(Shard& shard,
                         const PartSlice& slice,
                         std::span<const HotChunk> chunks,
                         const StreamSchema& schema);
    Result<> store_part(const RequestContext& context,
                        const std::string& key,
                        FlushAttempt& attempt);
    Result<StreamSchema> ensure_fields(const RequestContext& context,
                                       const Shard& shard,
                                       const Memtable& frozen);

    FlusherOptions options_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
    Random& random_;
    std::shared_ptr<MemoryBudget> memory_;
    Histogram& seconds_;
    Histogram& ratio_;
    Counter& rows_;
    Counter& bytes_;
    Counter& parts_;
    MetricRegistry& metrics_;
};

}  // namespace molesignal
