#include "query/sql/sql_engine.h"

#include <algorithm>

#include <duckdb.hpp>
#include <fmt/format.h>

#include "query/sql/query_execution.h"

namespace molesignal {
namespace {

class Answer final : public SqlResult {
public:
    explicit Answer(std::shared_ptr<QueryExecution> query) : query_(std::move(query)) {}
    ~Answer() override { query_->close(); }
    const std::vector<std::string>& columns() const override { return query_->columns(); }
    const std::vector<std::string>& column_types() const override { return query_->column_types(); }
    Result<bool> next(SqlFormat format, std::string& out) override {
        return query_->next(format, out);
    }
    SqlStats stats() const override { return query_->stats(); }
    bool partial() const override { return query_->partial(); }
    const std::vector<std::string>& warnings() const override { return query_->warnings(); }

private:
    std::shared_ptr<QueryExecution> query_;
};

class Engine final : public SqlEngine {
public:
    Engine(const SqlEngineOptions& options,
           Catalogue& catalogue,
           HotSource& hot,
           std::shared_ptr<ObjectReader> objects,
           QueryRegistry& registry,
           Clock& clock,
           MetricRegistry& metrics)
        : objects_(objects),
          parts_{
              .options = options,
              .catalogue = catalogue,
              .hot = hot,
              .registry = registry,
              .clock = clock,
              .slots = QuerySlots({.running_max = options.concurrency_max}, clock),
              .pool = InstancePool(options, std::move(objects)),
              .watch = QueryWatch(clock),
              .seconds = metrics.histogram("query_duration_seconds",
                                           "Time of a query, to its last row",
                                           MetricRegistry::latency_buckets(),
                                           {{"language", "sql"}}),
              .started = metrics.counter("query_total", "Queries started", {{"language", "sql"}}),
              .failed = metrics.counter(
                  "query_errors_total", "Queries that failed", {{"language", "sql"}}),
              .scanned_rows = metrics.counter("query_scanned_rows_total",
                                              "Rows of the parts and memtables that queries read"),
              .scanned_bytes = metrics.counter("query_scanned_bytes_total",
                                               "Bytes that queries read from the object store")} {}

    Result<std::unique_ptr<SqlResult>> run(const RequestContext& context, SqlQuery query) override {
        const auto started = parts_.clock.steady_now();
        auto inner = context;
        const auto& options = parts_.options;
        query.limits = query.limits.value_or(SqlLimits{.rows_max = options.rows_max,
                                                       .bytes_max = options.bytes_max,
                                                       .timeout = options.timeout});
        const auto timeout = std::min<std::chrono::nanoseconds>(
            query.limits->timeout, query.timeout.value_or(query.limits->timeout));
        inner.deadline = std::min(context.deadline, started + timeout);
        parts_.started.add();
        if (auto added = parts_.registry.add({.id = query.id,
                                              .org = query.org.value,
                                              .statement = query.statement,
                                              .started = parts_.clock.now(),
                                              .cancel = inner.cancel});
            !added) {
            parts_.failed.add();
            return std::move(added).error();
        }
        const auto execution =
            std::make_shared<QueryExecution>(parts_, std::move(inner), std::move(query), started);
        parts_.watch.add(execution);
        auto answer = std::make_unique<Answer>(execution);
        MS_TRY_VOID(execution->start());
        return std::unique_ptr<SqlResult>(std::move(answer));
    }

    IndexReport report_indexes(const RequestContext& context,
                               const StreamSchema& schema,
                               std::span<const PartInfo> parts) override {
        return molesignal::report_indexes(context, *objects_, schema, parts);
    }

private:
    const std::shared_ptr<ObjectReader> objects_;
    EngineParts parts_;
};

}  // namespace

Result<std::unique_ptr<SqlEngine>> SqlEngine::make(const SqlEngineOptions& options,
                                                   Catalogue& catalogue,
                                                   HotSource& hot,
                                                   ObjectStore& objects,
                                                   QueryRegistry& registry,
                                                   Clock& clock,
                                                   MetricRegistry& metrics) {
    // Headers and library must be of one source tree; a wrong pair would crash later.
    if (std::string_view(duckdb::DuckDB::SourceID()) != DUCKDB_EXPECTED_SOURCE_ID) {
        return Error(
            ErrorCode::kInternal,
            fmt::format("DuckDB's library ({}) is not the one this program was built for ({})",
                        duckdb::DuckDB::SourceID(),
                        DUCKDB_EXPECTED_SOURCE_ID));
    }
    QueryMemory::install();
    auto reader = options.reader;
    if (reader == nullptr) {
        reader = std::make_shared<ObjectReader>(
            objects, ObjectReaderOptions{}, nullptr, nullptr, clock, metrics);
    }
    return std::unique_ptr<SqlEngine>(std::make_unique<Engine>(
        options, catalogue, hot, std::move(reader), registry, clock, metrics));
}

}  // namespace molesignal
