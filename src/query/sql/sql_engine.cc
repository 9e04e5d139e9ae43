#include "query/sql/sql_engine.h"

#include <algorithm>
#include <array>
#include <deque>
#include <list>
#include <thread>

#include <duckdb.hpp>
#include <duckdb/main/pending_query_result.hpp>
#include <duckdb/main/stream_query_result.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <fmt/format.h>

#include "common/log.h"
#include "query/sql/arrow_stream.h"
#include "query/sql/engine_instance.h"
#include "query/sql/part_pruning.h"
#include "query/sql/sql_guard.h"
#include "query/sql/value_text.h"

namespace molesignal {
namespace {

constexpr std::size_t kNearestMax = 3;

/// Our error for one of DuckDB's; `context` tells a deadline from a cancel.
Error to_error(const duckdb::ErrorData& error, const RequestContext& context) {
    const auto& message = error.RawMessage();
    switch (error.Type()) {
        case duckdb::ExceptionType::INTERRUPT:
            if (auto reason = context.check(); !reason) {
                return std::move(reason).error();
            }
            return {ErrorCode::kCancelled, "the query was interrupted"};
        case duckdb::ExceptionType::OUT_OF_MEMORY:
            return {ErrorCode::kLimitReached,
                    fmt::format("the query needs more memory or spill space than it may use "
                                "(query.memory_mb, query.spill_mb): {}",
                                message)};
        case duckdb::ExceptionType::IO:
        case duckdb::ExceptionType::HTTP:
        case duckdb::ExceptionType::NETWORK:
            if (auto reason = context.check(); !reason) {
                return std::move(reason).error();
            }
            return {ErrorCode::kUnavailable, message};
        case duckdb::ExceptionType::PERMISSION:
            return {ErrorCode::kForbidden, message};
        case duckdb::ExceptionType::INTERNAL:
        case duckdb::ExceptionType::FATAL:
            return {ErrorCode::kInternal, message.substr(0, message.find("\n\nStack Trace"))};
        default:
            return {ErrorCode::kInvalidArgument, message};
    }
}

/// Distance of two names for "did you mean", by single edits.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        auto diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const auto above = row[j];
            row[j] =
                std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

class Engine;

/// An instance and a slot of the engine for as long as a query runs.
struct Lease {
    Engine* engine = nullptr;
    std::string org;
    std::unique_ptr<EngineInstance> instance;
    bool reusable = true;
};

class Engine final : public SqlEngine {
public:
    Engine(const SqlEngineOptions& options,
           Catalogue& catalogue,
           HotSource& hot,
           ObjectStore& objects,
           QueryRegistry& registry,
           Clock& clock,
           MetricRegistry& metrics)
        : options_(options),
          catalogue_(catalogue),
          hot_(hot),
          objects_(objects),
          registry_(registry),
          clock_(clock),
          seconds_(metrics.histogram("query_duration_seconds",
                                     "Time of a query, to its last row",
                                     MetricRegistry::latency_buckets(),
                                     {{"language", "sql"}})),
          queries_(metrics.counter("query_total", "Queries started", {{"language", "sql"}})),
          errors_(
              metrics.counter("query_errors_total", "Queries that failed", {{"language", "sql"}})),
          rows_(metrics.counter("query_scanned_rows_total",
                                "Rows of the parts and memtables that queries read")),
          bytes_(metrics.counter("query_scanned_bytes_total",
                                 "Bytes that queries read from the object store")),
          watcher_([this] { watch(); }) {}

    ~Engine() override {
        {
            const MutexLock lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        watcher_.join();
    }

    Result<std::unique_ptr<SqlResult>> run(const RequestContext& context, SqlQuery query) override;

    Result<Lease> take(const RequestContext& context, const OrgId& org);
    void give_back(Lease lease);
    Result<TableReplacement> replace_table(const RequestContext& context,
                                           const SqlQuery& query,
                                           const GuardedTable& table,
                                           EngineInstance& instance,
                                           ScanCounters& counters);

    struct Watched {
        duckdb::Connection* connection = nullptr;
        RequestContext context;
    };
    std::list<Watched>::iterator start_watching(duckdb::Connection& connection,
                                                const RequestContext& context) {
        const MutexLock lock(mutex_);
        watched_.push_back({.connection = &connection, .context = context});
        wake_.notify_all();
        return std::prev(watched_.end());
    }
    void stop_watching(std::list<Watched>::iterator entry) {
        const MutexLock lock(mutex_);
        watched_.erase(entry);
    }
    void finished(const SqlStats& stats, bool failed) {
        seconds_.observe(static_cast<double>(stats.took_ms) * 1e-3);
        rows_.add(static_cast<double>(stats.scanned_rows));
        bytes_.add(static_cast<double>(stats.scanned_bytes));
        if (failed) {
            errors_.add();
        }
    }

    const SqlEngineOptions& options() const { return options_; }
    QueryRegistry& registry() { return registry_; }
    Clock& clock() { return clock_; }

private:
    Result<StreamInfo> find_stream(const RequestContext& context,
                                   const OrgId& org,
                                   const GuardedTable& table);

    /// Interrupts queries that were cancelled or are late. DuckDB has no deadline of its own.
    void watch() {
        const MutexLock lock(mutex_);
        while (!stopping_) {
            for (auto& entry : watched_) {
                if (!entry.context.check()) {
                    entry.connection->Interrupt();
                }
            }
            clock_.wait_until(mutex_,
                              wake_,
                              watched_.empty()
                                  ? SteadyNanos::never()
                                  : clock_.steady_now() + std::chrono::milliseconds(20));
        }
    }

    const SqlEngineOptions options_;
    Catalogue& catalogue_;
    HotSource& hot_;
    ObjectStore& objects_;
    QueryRegistry& registry_;
    Clock& clock_;
    Histogram& seconds_;
    Counter& queries_;
    Counter& errors_;
    Counter& rows_;
    Counter& bytes_;

    Mutex mutex_;
    CondVar wake_;
    CondVar slot_freed_;
    std::size_t running_ MS_GUARDED_BY(mutex_) = 0;
    std::deque<std::pair<std::string, std::unique_ptr<EngineInstance>>> idle_ MS_GUARDED_BY(mutex_);
    std::list<Watched> watched_ MS_GUARDED_BY(mutex_);
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    std::thread watcher_;
};

class RunningResult final : public SqlResult {
public:
    RunningResult(Engine& engine,
                  const RequestContext& context,
                  const SqlQuery& query,
                  SteadyNanos started)
        : engine_(engine),
          context_(context),
          query_(query),
          started_(started),
          counters_(std::make_shared<ScanCounters>()) {}

    ~RunningResult() override {
        arrow_.reset();
        result_.reset();
        if (watching_) {
            engine_.stop_watching(watched_);
        }
        if (lease_.instance != nullptr) {
            lease_.instance->end();
            engine_.give_back(std::move(lease_));
        }
        engine_.registry().remove(query_.id);
        engine_.finished(stats(), failed_);
    }

    Result<> start();
    const std::vector<std::string>& columns() const override { return columns_; }
    const std::vector<std::string>& column_types() const override { return types_; }
    Result<bool> next(SqlFormat format, std::string& out) override;
    SqlStats stats() const override;
    bool partial() const override { return partial_; }
    const std::vector<std::string>& warnings() const override { return warnings_; }

private:
    Result<duckdb::unique_ptr<duckdb::DataChunk>> fetch();
    Result<> encode(SqlFormat format, duckdb::DataChunk& chunk, std::string& out);
    Result<> encode_end(SqlFormat format, std::string& out);
    Error fail(Error error) {
        failed_ = true;
        // An instance that met an internal error answers nothing more.
        lease_.reusable = lease_.reusable && error.code() != ErrorCode::kInternal;
        return error;
    }

    Engine& engine_;
    RequestContext context_;
    SqlQuery query_;
    SteadyNanos started_;
    std::shared_ptr<ScanCounters> counters_;
    Lease lease_;
    std::list<Engine::Watched>::iterator watched_;
    bool watching_ = false;
    bool failed_ = false;
    bool header_done_ = false;
    bool ended_ = false;
    bool partial_ = false;
    std::int64_t rows_ = 0;
    std::int64_t bytes_ = 0;
    duckdb::unique_ptr<duckdb::QueryResult> result_;
    std::unique_ptr<ArrowStream> arrow_;
    std::vector<std::string> columns_;
    std::vector<std::string> names_json_;
    std::vector<std::string> types_;
    std::vector<std::string> warnings_;
};

Result<> RunningResult::start() try {
    MS_TRY(lease_, engine_.take(context_, query_.org));
    auto& instance = *lease_.instance;
    instance.begin(context_, counters_);
    GuardLimits limits;
    limits.statement_bytes_max = engine_.options().statement_bytes_max;
    MS_TRY(auto statement,
           guard_statement(query_.statement, limits, [&](const GuardedTable& table) {
               return engine_.replace_table(context_, query_, table, instance, *counters_);
           }));
    watched_ = engine_.start_watching(instance.connection(), context_);
    watching_ = true;
    auto pending = instance.connection().PendingQuery(
        duckdb::unique_ptr<duckdb::SQLStatement>(statement.release()), true);
    if (pending->HasError()) {
        return fail(to_error(pending->GetErrorObject(), context_));
    }
    result_ = pending->Execute();
    if (result_->HasError()) {
        return fail(to_error(result_->GetErrorObject(), context_));
    }
    for (duckdb::idx_t i = 0; i < result_->ColumnCount(); ++i) {
        columns_.push_back(result_->names[i]);
        types_.push_back(result_->types[i].ToString());
        names_json_.emplace_back();
        append_json_literal(result_->names[i], names_json_.back());
    }
    return {};
} catch (const std::exception& exception) {
    lease_.reusable = false;
    return fail(to_error(duckdb::ErrorData(exception), context_));
}

Result<duckdb::unique_ptr<duckdb::DataChunk>> RunningResult::fetch() try {
    auto chunk = result_->Fetch();
    if (result_->HasError()) {
        return fail(to_error(result_->GetErrorObject(), context_));
    }
    return chunk;
} catch (const std::exception& exception) {
    lease_.reusable = false;
    return fail(to_error(duckdb::ErrorData(exception), context_));
}

Result<bool> RunningResult::next(SqlFormat format, std::string& out) {
    if (ended_) {
        return false;
    }
    const auto before = out.size();
    if (!header_done_) {
        header_done_ = true;
        if (format == SqlFormat::kCsv) {
            for (std::size_t i = 0; i < columns_.size(); ++i) {
                out += i == 0 ? "" : ",";
                append_csv_text(columns_[i], out);
            }
            out += "\r\n";
        }
    }
    MS_TRY(auto chunk, fetch());
    const auto rows_max = std::min(engine_.options().rows_max, query_.limit.value_or(INT64_MAX));
    if (chunk != nullptr && chunk->size() > 0 && rows_ < rows_max &&
        bytes_ < engine_.options().bytes_max) {
        const auto room = static_cast<duckdb::idx_t>(rows_max - rows_);
        if (chunk->size() > room) {
            chunk->SetCardinality(room);
            partial_ = true;
        }
        MS_TRY_VOID(encode(format, *chunk, out));
        rows_ += static_cast<std::int64_t>(chunk->size());
        bytes_ += static_cast<std::int64_t>(out.size() - before);
        if (!partial_) {
            return true;
        }
    } else if (chunk != nullptr && chunk->size() > 0) {
        partial_ = true;
    }
    if (partial_ && rows_ == query_.limit.value_or(-1)) {
        partial_ = false;  // The caller asked for no more.
    } else if (partial_) {
        warnings_.push_back(
            bytes_ >= engine_.options().bytes_max
                ? fmt::format("the answer was cut after {} bytes (query.bytes_max)", bytes_)
                : fmt::format("the answer was cut after {} rows (query.rows_max)", rows_));
    }
    ended_ = true;
    MS_TRY_VOID(encode_end(format, out));
    return false;
}

Result<> RunningResult::encode(SqlFormat format, duckdb::DataChunk& chunk, std::string& out) try {
    switch (format) {
        case SqlFormat::kJsonRows:
            append_json_rows(chunk, rows_ == 0, out);
            return {};
        case SqlFormat::kNdjson:
            append_ndjson_rows(chunk, names_json_, out);
            return {};
        case SqlFormat::kCsv:
            append_csv_rows(chunk, out);
            return {};
        case SqlFormat::kArrow:
            if (arrow_ == nullptr) {
                arrow_ = std::make_unique<ArrowStream>(*result_);
            }
            return arrow_->append(chunk, out);
    }
    return {};
} catch (const std::exception& exception) {
    return fail(to_error(duckdb::ErrorData(exception), context_));
}

Result<> RunningResult::encode_end(SqlFormat format, std::string& out) try {
    if (format != SqlFormat::kArrow) {
        return {};
    }
    if (arrow_ == nullptr) {
        arrow_ = std::make_unique<ArrowStream>(*result_);
    }
    return arrow_->finish(out);
} catch (const std::exception& exception) {
    return fail(to_error(duckdb::ErrorData(exception), context_));
}

SqlStats RunningResult::stats() const {
    SqlStats stats;
    stats.took_ms = (engine_.clock().steady_now().value - started_.value) / 1'000'000;
    stats.scanned_rows = counters_->rows;
    stats.scanned_bytes = counters_->bytes;
    stats.parts_total = counters_->parts_total;
    stats.parts_skipped = counters_->parts_skipped;
    stats.row_groups_total = counters_->row_groups_total;
    stats.row_groups_skipped = counters_->row_groups_total - counters_->row_groups_read;
    stats.object_gets = counters_->gets;
    stats.hot_rows = counters_->hot_rows;
    return stats;
}

Result<std::unique_ptr<SqlResult>> Engine::run(const RequestContext& context, SqlQuery query) {
    const auto started = clock_.steady_now();
    auto inner = context;
    const auto timeout = std::min<std::chrono::nanoseconds>(
        options_.timeout, query.timeout.value_or(options_.timeout));
    inner.deadline = std::min(context.deadline, started + timeout);
    MS_TRY_VOID(registry_.add({.id = query.id,
                               .org = query.org.value,
                               .statement = query.statement,
                               .started = clock_.now(),
                               .cancel = inner.cancel}));
    queries_.add();
    auto result = std::make_unique<RunningResult>(*this, inner, query, started);
    MS_TRY_VOID(result->start());
    return std::unique_ptr<SqlResult>(std::move(result));
}

Result<Lease> Engine::take(const RequestContext& context, const OrgId& org) {
    Lease lease;
    lease.engine = this;
    lease.org = org.value;
    {
        const MutexLock lock(mutex_);
        while (running_ >= options_.concurrency_max) {
            if (auto alive = context.check(); !alive) {
                if (alive.error().code() == ErrorCode::kTimeout) {
                    return Error(
                        ErrorCode::kResourceExhausted,
                        fmt::format(
                            "{} queries run already and none ended in time (query.concurrency)",
                            running_));
                }
                return std::move(alive).error();
            }
            clock_.wait_until(
                mutex_,
                slot_freed_,
                std::min(context.deadline, clock_.steady_now() + std::chrono::milliseconds(50)));
        }
        ++running_;
        // An instance that served one organisation never serves another.
        const auto found = std::ranges::find(
            idle_, org.value, &std::pair<std::string, std::unique_ptr<EngineInstance>>::first);
        if (found != idle_.end()) {
            lease.instance = std::move(found->second);
            idle_.erase(found);
            return lease;
        }
        if (running_ + idle_.size() > options_.concurrency_max && !idle_.empty()) {
            idle_.pop_front();  // Somebody else's: its memory is wanted.
        }
    }
    auto made = EngineInstance::make(
        options_,
        options_.memory_bytes / static_cast<std::int64_t>(options_.concurrency_max),
        objects_);
    if (!made) {
        const MutexLock lock(mutex_);
        --running_;
        slot_freed_.notify_one();
        return std::move(made).error();
    }
    lease.instance = std::move(*made);
    return lease;
}

void Engine::give_back(Lease lease) {
    const MutexLock lock(mutex_);
    --running_;
    if (lease.reusable) {
        idle_.emplace_back(std::move(lease.org), std::move(lease.instance));
    }
    slot_freed_.notify_one();
}

Result<StreamInfo> Engine::find_stream(const RequestContext& context,
                                       const OrgId& org,
                                       const GuardedTable& table) {
    auto schema = table.schema;
    std::ranges::transform(
        schema, schema.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::vector<StreamType> types = {StreamType::kLogs, StreamType::kMetrics, StreamType::kTraces};
    if (!schema.empty()) {
        const auto type = parse_stream_type(schema);
        if (!type) {
            return Error(ErrorCode::kForbidden,
                         fmt::format("'{}.{}' is not a stream; streams are written logs.<name>",
                                     table.schema,
                                     table.name));
        }
        types = {*type};
    }
    for (const auto type : types) {
        MS_TRY(auto stream, catalogue_.find_stream(context, org, type, table.name));
        if (stream.has_value()) {
            return std::move(*stream);
        }
    }
    MS_TRY(const auto streams, catalogue_.list_streams(context, org));
    std::vector<std::pair<std::size_t, std::string>> near;
    for (const auto& stream : streams) {
        near.emplace_back(edit_distance(table.name, stream.name),
                          fmt::format("{}.{}", stream_type_name(stream.type), stream.name));
    }
    std::ranges::sort(near);
    std::string names;
    for (std::size_t i = 0; i < std::min(kNearestMax, near.size()); ++i) {
        names += (i == 0 ? "; the nearest are " : ", ") + near[i].second;
    }
    return Error(ErrorCode::kNotFound,
                 fmt::format("no stream is called '{}'{}",
                             table.schema.empty() ? table.name : table.schema + "." + table.name,
                             names.empty() ? "; there are none yet" : names));
}

Result<TableReplacement> Engine::replace_table(const RequestContext& context,
                                               const SqlQuery& query,
                                               const GuardedTable& table,
                                               EngineInstance& instance,
                                               ScanCounters& counters) {
    MS_TRY(auto stream, find_stream(context, query.org, table));
    auto source = std::make_shared<ScanSource>();
    // Hot rows first, the catalogue second: docs/decisions/0002-snapshot-order.md.
    source->hot = hot_.hot_snapshot(stream.id);
    std::int64_t parts_total = 0;
    const auto last_us =
        query.time_range.end_us == INT64_MAX ? INT64_MAX : query.time_range.end_us - 1;
    MS_TRY(
        auto snapshot,
        catalogue_.snapshot(context, stream.id, query.time_range.start_us, last_us, parts_total));
    std::vector<std::pair<ShardId, Position>> checkpoints;
    for (const auto& shard : snapshot.shards) {
        checkpoints.emplace_back(shard.id, shard.checkpoint);
    }
    drop_flushed_rows(source->hot, checkpoints);
    source->stream = std::move(snapshot.stream);
    source->schema = std::move(snapshot.schema);
    add_hot_fields(source->schema, source->hot);
    source->start_us = query.time_range.start_us;
    source->end_us = query.time_range.end_us;
    for (auto& part : snapshot.parts) {
        if (may_hold(part, source->schema, table.conditions)) {
            source->parts.push_back(std::move(part));
        }
    }
    counters.parts_total += parts_total;
    counters.parts_skipped += parts_total - static_cast<std::int64_t>(source->parts.size());
    TableReplacement replacement;
    const auto handle = instance.add_source(source);
    replacement.subquery = stream_subquery(*source, handle);
    constexpr std::array<std::string_view, 6> kFullText = {
        "body", "message", "msg", "log", "text", "_msg"};
    for (const auto& field : source->schema.logical_fields()) {
        const auto& chosen = source->stream.settings.full_text_fields;
        const bool wanted = chosen.empty()
                                ? std::ranges::find(kFullText, field.name) != kFullText.end()
                                : std::ranges::find(chosen, field.name) != chosen.end();
        if (wanted) {
            replacement.full_text_columns.push_back(field.sql_name);
        }
    }
    return replacement;
}

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
    return std::unique_ptr<SqlEngine>(
        std::make_unique<Engine>(options, catalogue, hot, objects, registry, clock, metrics));
}

}  // namespace molesignal
