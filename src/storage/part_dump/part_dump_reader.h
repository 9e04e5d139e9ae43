#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/thread_pool.h"
#include "metadata/dump/part_dump.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

struct PartDumpReaderOptions {
    /// Threads that read beside the caller's own when several lists are wanted; 0: none.
    std::size_t threads = 0;
    std::shared_ptr<MemoryBudget> memory = nullptr;  ///< Of what is being read; null: no limit.
};

/// Reads part dumps through the caches of queries. A list that was decoded stays in memory, within
/// `cache.memory_mb`, and is shared. Thread-safe.
class CachedPartDumpReader final : public PartDumpReader {
public:
    /// The references outlive the reader.
    CachedPartDumpReader(std::shared_ptr<ObjectReader> objects,
                         const PartDumpReaderOptions& options,
                         Clock& clock,
                         MetricRegistry& metrics);
    ~CachedPartDumpReader() override;

    Result<std::vector<PartList>> read(const RequestContext& context,
                                       std::span<const PartDump> dumps) override;

private:
    struct Batch;
    static void work(CachedPartDumpReader& reader, Batch& batch);
    Result<PartList> read_one(const RequestContext& context, const PartDump& dump);
    Result<ObjectReader::Loaded> load(const RequestContext& context,
                                      const PartDump& dump,
                                      ReadTally& tally);
    Result<PartList> load_once(const RequestContext& context,
                               const PartDump& dump,
                               ReadTally& tally);

    std::shared_ptr<ObjectReader> objects_;
    PartDumpReaderOptions options_;
    Clock& clock_;
    Counter& reads_;
    Histogram& load_seconds_;
    std::unique_ptr<ThreadPool> pool_;  ///< Ends before what its tasks use. Null: no threads.
};

}  // namespace molesignal
