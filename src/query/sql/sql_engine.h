#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/request_context.h"
#include "common/result.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"
#include "query/query_registry.h"
#include "query/sql/index_report.h"
#include "storage/cache/object_reader.h"
#include "storage/hot_rows.h"

namespace molesignal {

struct SqlEngineOptions {
    std::size_t threads = 0;                  ///< query.threads; 0: as many as cores.
    std::int64_t memory_bytes = 256LL << 20;  ///< query.memory_mb, of each query.
    std::shared_ptr<MemoryBudget> memory;     ///< Of all queries and more; null: no such limit.
    std::shared_ptr<ObjectReader> reader;     ///< With the caches; null: one without any.
    std::int64_t spill_bytes = 2048LL << 20;  ///< query.spill_mb, of each query.
    std::string spill_directory;
    std::int64_t rows_max = 1'000'000;     ///< query.rows_max: an answer is cut there.
    std::int64_t bytes_max = 256LL << 20;  ///< query.bytes_max: an answer is cut there.
    std::size_t concurrency_max = 4;       ///< query.concurrency: more queries wait.
    std::chrono::seconds timeout{60};      ///< query.timeout_secs
    std::size_t statement_bytes_max = 64U << 10U;
};

/// Half-open range of time, in microseconds since 1970.
struct SqlTimeRange {
    std::int64_t start_us = INT64_MIN;
    std::int64_t end_us = INT64_MAX;
};

/// What may change from one query to the next.
struct SqlLimits {
    std::int64_t rows_max = 0;
    std::int64_t bytes_max = 0;
    std::chrono::seconds timeout{};
};

struct SqlQuery {
    std::string id;
    OrgId org;
    std::string statement;
    SqlTimeRange time_range;
    std::optional<std::int64_t> limit;
    std::optional<std::chrono::milliseconds> timeout;  ///< Shorter than query.timeout_secs.
    std::optional<SqlLimits> limits = {};              ///< Else those of SqlEngineOptions.
    /// Not empty: each stream of the statement has two columns only, `value` and `rows`: the values
    /// of this field, a text, and how many rows have them, from the indexes of most parts; with
    /// NULL for rows without one. SqlStats::values_counted says whether it could be done.
    std::string counted_field = {};
};

struct SqlStats {
    std::int64_t took_ms = 0;
    std::int64_t scanned_rows = 0;   ///< Rows of the row groups and chunks that were read.
    std::int64_t scanned_bytes = 0;  ///< Bytes read from the object store.
    std::int64_t parts_total = 0;
    std::int64_t parts_skipped = 0;
    std::int64_t row_groups_total = 0;     ///< Of the parts that were not skipped.
    std::int64_t row_groups_skipped = 0;   ///< Those of which no byte was read.
    std::int64_t index_parts = 0;          ///< Parts whose index was asked.
    std::int64_t index_parts_whole = 0;    ///< Of these, read whole: the index left many rows.
    std::int64_t index_parts_counted = 0;  ///< Of these, not read: their values were counted.
    std::int64_t index_rows = 0;     ///< Rows of these parts that the indexes left to look at.
    std::int64_t index_filters = 0;  ///< Conditions that the indexes answered alone.
    bool values_counted = false;     ///< Else a query with `counted_field` saw no rows.
    std::int64_t object_gets = 0;
    std::int64_t cache_hits = 0;  ///< Reads that a cache answered instead of the object store.
    std::int64_t hot_rows = 0;
    std::int64_t memory_peak_bytes = 0;
};

enum class SqlFormat : std::uint8_t {
    kJsonRows = 1,  ///< Arrays, comma-separated: the inside of "rows".
    kNdjson = 2,    ///< An object a line.
    kCsv = 3,       ///< RFC 4180 with a header line.
    kArrow = 4,     ///< An Arrow IPC stream.
};

/// A running query and its rows. One thread at a time; destroying it ends the query.
class SqlResult {
public:
    virtual ~SqlResult() = default;
    virtual const std::vector<std::string>& columns() const = 0;
    /// DuckDB's names of the types: "BIGINT", "VARCHAR", "TIMESTAMP WITH TIME ZONE", …
    virtual const std::vector<std::string>& column_types() const = 0;
    /// Appends the next rows to `out`, a piece of about 256 KiB but at least a row; false when
    /// there are no more (this call may have appended the last). Always the same format.
    virtual Result<bool> next(SqlFormat format, std::string& out) = 0;
    /// Complete after `next` returned false.
    virtual SqlStats stats() const = 0;
    virtual bool partial() const = 0;
    virtual const std::vector<std::string>& warnings() const = 0;
};

/// SQL over streams, by DuckDB. The only user of DuckDB is this folder, and no type of it leaves.
///
/// User text never reaches the engine: it is parsed, checked against what is allowed, rewritten so
/// that streams become scans of one snapshot, and run in an instance that knows nothing else.
/// Thread-safe.
class SqlEngine {
public:
    virtual ~SqlEngine() = default;
    /// The references outlive the engine.
    static Result<std::unique_ptr<SqlEngine>> make(const SqlEngineOptions& options,
                                                   Catalogue& catalogue,
                                                   HotSource& hot,
                                                   ObjectStore& objects,
                                                   QueryRegistry& registry,
                                                   Clock& clock,
                                                   MetricRegistry& metrics);

    /// Starts a query. kInvalidArgument: syntax, unknown names; kForbidden: refused by the guard;
    /// kNotFound: no such stream; kResourceExhausted: too many queries; kLimitReached: needs more
    /// memory than it may use; kTimeout.
    virtual Result<std::unique_ptr<SqlResult>> run(const RequestContext& context,
                                                   SqlQuery query) = 0;

    /// What the indexes of these parts are made of; see report_indexes.
    virtual IndexReport report_indexes(const RequestContext& context,
                                       const StreamSchema& schema,
                                       std::span<const PartInfo> parts) = 0;
};

}  // namespace molesignal
