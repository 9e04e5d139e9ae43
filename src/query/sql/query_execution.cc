#include "query/sql/query_execution.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <duckdb.hpp>
#include <duckdb/main/materialized_query_result.hpp>
#include <duckdb/main/pending_query_result.hpp>
#include <duckdb/main/stream_query_result.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <fmt/format.h>

#include "query/sql/guard/sql_guard.h"
#include "query/sql/query_error.h"
#include "query/sql/scan_report.h"
#include "query/sql/value_text.h"

namespace molesignal {
namespace {

/// `next` appends about so much at a time, but never less than a row.
constexpr std::size_t kPieceBytes = 256U << 10U;

/// Works until the first rows are there, or an error. DuckDB's own loop asks for a task again and
/// again while its other threads have them all: on few cores that takes as much CPU as the work
/// (perf: a third of an aggregate of 31 row groups by two threads).
void run_tasks(duckdb::PendingQueryResult& pending) {
    using duckdb::PendingExecutionResult;
    constexpr std::chrono::microseconds kPauseMin{20};
    constexpr std::chrono::microseconds kPauseMax{320};
    auto pause = kPauseMin;
    while (true) {
        const auto state = pending.ExecuteTask();
        if (duckdb::PendingQueryResult::IsResultReady(state)) {
            return;
        }
        if (state == PendingExecutionResult::BLOCKED) {
            pending.WaitForTask();
        } else if (state == PendingExecutionResult::NO_TASKS_AVAILABLE) {
            std::this_thread::sleep_for(pause);
            pause = std::min(2 * pause, kPauseMax);
        } else {
            pause = kPauseMin;
        }
    }
}

/// How the plan reads each mention of a stream. A stream that it does not read, or whose parts it
/// reads without any condition, is there as a whole.
std::vector<ScanReport> scans_of(EngineInstance& instance, const QueryStreams& streams) {
    auto reports = instance.scan_reports();
    for (const auto& source : streams.sources()) {
        if (std::ranges::find(reports, source, &ScanReport::source) != reports.end()) {
            continue;
        }
        auto& report = reports.emplace_back();
        report.source = source;
        for (const auto& part : source->parts) {
            report.add(PartReading::kUnasked, part.rows, part.rows);
        }
    }
    return reports;
}

/// The plan that DuckDB has explained, and a row for each scan.
std::unique_ptr<duckdb::QueryResult> with_scans(std::unique_ptr<duckdb::QueryResult> plan,
                                                const std::vector<ScanReport>& reports,
                                                ExplainForm form) {
    auto& allocator = duckdb::Allocator::DefaultAllocator();
    auto rows = duckdb::make_uniq<duckdb::ColumnDataCollection>(allocator, plan->types);
    while (auto chunk = plan->Fetch()) {
        if (chunk->size() == 0) {
            break;
        }
        rows->Append(*chunk);
    }
    if (plan->HasError()) {
        return plan;
    }
    for (const auto& report : reports) {
        duckdb::DataChunk row;
        row.Initialize(allocator, plan->types, 1);
        row.SetValue(0, 0, duckdb::Value("scan"));
        row.SetValue(1,
                     0,
                     duckdb::Value(form == ExplainForm::kJson ? scan_report_json(report)
                                                              : scan_report_text(report)));
        row.SetCardinality(1);
        rows->Append(row);
    }
    return std::make_unique<duckdb::MaterializedQueryResult>(plan->statement_type,
                                                             plan->properties,
                                                             plan->names,
                                                             std::move(rows),
                                                             plan->client_properties);
}

}  // namespace

QueryExecution::QueryExecution(EngineParts& parts,
                               RequestContext context,
                               SqlQuery query,
                               SteadyNanos started)
    : parts_(parts),
      context_(std::move(context)),
      query_(std::move(query)),
      started_(started),
      counters_(std::make_shared<ScanCounters>()) {}

QueryExecution::~QueryExecution() {
    close();
}

void QueryExecution::close() {
    if (std::exchange(closed_, true)) {
        return;
    }
    parts_.watch.remove(*this);
    {
        const MutexLock lock(mutex_);
        release();
    }
    const auto final_stats = stats();
    parts_.seconds.observe(static_cast<double>(final_stats.took_ms) * 1e-3);
    parts_.scanned_rows.add(static_cast<double>(final_stats.scanned_rows));
    parts_.scanned_bytes.add(static_cast<double>(final_stats.scanned_bytes));
    if (failed_) {
        parts_.failed.add();
    }
}

void QueryExecution::release() {
    if (std::exchange(released_, true)) {
        return;
    }
    arrow_.reset();
    text_.reset();
    chunk_.reset();
    result_.reset();
    {
        const MutexLock lock(interrupt_mutex_);
        running_ = nullptr;
    }
    if (instance_ != nullptr) {
        memory_peak_bytes_ = instance_->memory().peak_bytes();
        instance_->end();
        streams_.reset();
        parts_.pool.give_back(query_.org.value, reusable_ ? std::move(instance_) : nullptr);
        instance_.reset();
    }
    parts_.registry.remove(query_.org.value, query_.id);
    slot_.reset();
}

void QueryExecution::interrupt() {
    const MutexLock lock(interrupt_mutex_);
    if (running_ != nullptr) {
        running_->interrupt();
    }
}

void QueryExecution::expire() {
    // A thread inside the query meets the interrupt and releases by itself.
    if (mutex_.try_lock()) {
        release();
        mutex_.unlock();
    }
}

Error QueryExecution::to_error(const duckdb::ErrorData& error) {
    if (error.Type() == duckdb::ExceptionType::INTERRUPT ||
        error.Type() == duckdb::ExceptionType::OUT_OF_MEMORY) {
        if (auto enough = instance_->memory().check(); !enough) {
            return std::move(enough).error();
        }
    }
    static const std::vector<std::shared_ptr<const ScanSource>> kNone;
    auto mapped = query_error(error, context_, streams_ == nullptr ? kNone : streams_->sources());
    // An instance that met an internal error answers nothing more.
    reusable_ = reusable_ && mapped.code() != ErrorCode::kInternal;
    return mapped;
}

template <class Body>
Result<> QueryExecution::caught(const Body& body) try {
    return body();
} catch (const std::exception& exception) {
    reusable_ = false;
    return to_error(duckdb::ErrorData(exception));
}

Result<> QueryExecution::start() {
    Result<> done;
    {
        const MutexLock lock(mutex_);
        done = start_locked();
        if (!done) {
            release();
        }
    }
    failed_ = !done;
    return done;
}

Result<> QueryExecution::start_locked() {
    MS_TRY(slot_, parts_.slots.take(context_, query_.org.value));
    MS_TRY(instance_, parts_.pool.take(query_.org.value));
    instance_->begin(context_, counters_);
    {
        const MutexLock lock(interrupt_mutex_);
        running_ = instance_.get();
    }
    streams_ = std::make_unique<QueryStreams>(
        parts_.catalogue,
        parts_.hot,
        query_.org,
        QueryStreams::Range{.start_us = query_.time_range.start_us,
                            .end_us = query_.time_range.end_us},
        *counters_,
        [&instance = *instance_](auto source) { return instance.add_source(std::move(source)); });
    if (!query_.counted_field.empty()) {
        streams_->count_field(query_.counted_field, [&instance = *instance_, this](auto& source) {
            return instance.count_values(context_, source);
        });
    }
    return caught([this]() MS_NO_THREAD_SAFETY_ANALYSIS {
        const QueryMemory::Scope scope(&instance_->memory());
        return run_statement();
    });
}

Result<> QueryExecution::run_statement() {
    GuardLimits limits;
    limits.statement_bytes_max = parts_.options.statement_bytes_max;
    MS_TRY(
        auto guarded,
        guard_statement(
            query_.statement, limits, [&](const GuardedTable& table) MS_NO_THREAD_SAFETY_ANALYSIS {
                // Snapshots are bounded by other means, and outlive the plan.
                const QueryMemory::Scope uncounted(nullptr);
                return streams_->replace(context_, table);
            }));
    if (guarded.explain.has_value()) {
        instance_->explain();
    }
    auto pending = instance_->connection().PendingQuery(
        duckdb::unique_ptr<duckdb::SQLStatement>(guarded.statement.release()), true);
    if (pending->HasError()) {
        return to_error(pending->GetErrorObject());
    }
    run_tasks(*pending);
    if (pending->HasError()) {
        return to_error(pending->GetErrorObject());
    }
    result_ = pending->Execute();
    if (result_->HasError()) {
        return to_error(result_->GetErrorObject());
    }
    if (guarded.explain.has_value()) {
        result_ = with_scans(std::move(result_), scans_of(*instance_, *streams_), *guarded.explain);
    }
    const QueryMemory::Scope uncounted(nullptr);
    lay_out(guarded);
    return {};
}

void QueryExecution::lay_out(const GuardedStatement& guarded) {
    const auto shown = result_->ColumnCount() - guarded.hidden_columns;
    for (duckdb::idx_t i = 0; i < shown; ++i) {
        layout_.names.push_back(result_->names[i]);
        layout_.nanos.emplace_back();
        types_.push_back(result_->types[i].ToString());
    }
    for (const auto& digits : guarded.digits) {
        const auto column = digits.from_end ? shown - 1 - digits.column : digits.column;
        if (column < shown && result_->types[column].id() == duckdb::LogicalTypeId::TIMESTAMP_TZ) {
            layout_.nanos[column] = shown + digits.hidden;
        }
    }
}

Result<> QueryExecution::fetch_rows() {
    if (chunk_ != nullptr && row_ < chunk_->size()) {
        return {};
    }
    text_.reset();
    row_ = 0;
    return caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS -> Result<> {
        {
            const QueryMemory::Scope scope(&instance_->memory());
            chunk_ = result_->Fetch();
            if (result_->HasError()) {
                return to_error(result_->GetErrorObject());
            }
        }
        if (chunk_ != nullptr && chunk_->size() > 0) {
            text_ = std::make_unique<ChunkText>(*chunk_, layout_);
        }
        return {};
    });
}

Result<bool> QueryExecution::next(SqlFormat format, std::string& out) {
    if (ended_) {
        return false;
    }
    Result<bool> more = false;
    {
        const MutexLock lock(mutex_);
        if (released_) {
            auto alive = context_.check();
            more = alive ? Error(ErrorCode::kInternal, "the query has ended already")
                         : std::move(alive).error();
        } else {
            more = next_locked(format, out);
        }
        if (!more || !*more) {
            release();
        }
    }
    ended_ = !more || !*more;
    failed_ = failed_ || !more;
    return more;
}

Result<bool> QueryExecution::next_locked(SqlFormat format, std::string& out) {
    const auto before = out.size();
    if (!std::exchange(header_done_, true) && format == SqlFormat::kCsv) {
        out += csv_header(layout_);
        bytes_ = std::min(query_.limits->bytes_max, static_cast<std::int64_t>(out.size() - before));
    }
    MS_TRY_VOID(fetch_rows());
    bool more = text_ != nullptr;
    if (more) {
        MS_TRY_VOID(append_rows(format, out));
        more = !partial_;
    }
    if (!more) {
        note_cut();
        MS_TRY_VOID(append_end(format, out));
    }
    // The reader holds it until it asks for more.
    piece_.reset();
    piece_ = MemoryReservation(parts_.options.memory);
    if (parts_.options.memory != nullptr) {
        MS_TRY_VOID(piece_.grow(static_cast<std::int64_t>(out.size() - before)));
    }
    return more;
}

Result<> QueryExecution::append_rows(SqlFormat format, std::string& out) {
    const auto& limits = *query_.limits;
    const auto before = out.size();
    const auto rows_max = std::min(limits.rows_max, query_.limit.value_or(INT64_MAX));
    const auto rows = std::min(chunk_->size() - row_, static_cast<std::size_t>(rows_max - rows_));
    const auto bytes = static_cast<std::size_t>(limits.bytes_max - bytes_);
    std::size_t appended = 0;
    if (format == SqlFormat::kArrow) {
        MS_TRY(appended, append_arrow(rows, bytes, out));
    } else {
        appended = append_text(format, rows, bytes, out);
    }
    row_ += appended;
    rows_ += static_cast<std::int64_t>(appended);
    bytes_ = std::min(limits.bytes_max, bytes_ + static_cast<std::int64_t>(out.size() - before));
    partial_ = cut_by_bytes_ || (rows_ == rows_max && row_ < chunk_->size());
    return {};
}

std::size_t QueryExecution::append_text(SqlFormat format,
                                        std::size_t rows,
                                        std::size_t bytes,
                                        std::string& out) {
    const auto begin = out.size();
    for (std::size_t i = 0; i < rows; ++i) {
        bool fits = false;
        switch (format) {
            case SqlFormat::kNdjson:
                fits = text_->append_ndjson(row_ + i, out, begin + bytes);
                break;
            case SqlFormat::kCsv:
                fits = text_->append_csv(row_ + i, out, begin + bytes);
                break;
            default: {
                const auto before = out.size();
                out += rows_ + static_cast<std::int64_t>(i) > 0 ? "," : "";
                fits = text_->append_json(row_ + i, out, begin + bytes);
                if (!fits) {
                    out.resize(before);
                }
            }
        }
        if (!fits) {
            cut_by_bytes_ = true;
            return i;
        }
        if (out.size() - begin >= kPieceBytes) {
            return i + 1;
        }
    }
    return rows;
}

Result<std::size_t> QueryExecution::append_arrow(std::size_t rows,
                                                 std::size_t bytes,
                                                 std::string& out) {
    std::size_t count = 0;
    std::size_t total = 0;
    while (count < rows) {
        const auto row_bytes = text_->row_bytes(row_ + count);
        if (total + row_bytes > bytes) {
            cut_by_bytes_ = true;
            break;
        }
        if (count > 0 && total + row_bytes > kPieceBytes) {
            break;
        }
        total += row_bytes;
        ++count;
    }
    if (count > 0) {
        MS_TRY_VOID(caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS {
            if (arrow_ == nullptr) {
                arrow_ = std::make_unique<ArrowStream>(*result_, layout_.names.size());
            }
            return arrow_->append(*chunk_, row_, row_ + count, out);
        }));
    }
    return count;
}

Result<> QueryExecution::append_end(SqlFormat format, std::string& out) {
    if (format != SqlFormat::kArrow) {
        return {};
    }
    return caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS {
        if (arrow_ == nullptr) {
            arrow_ = std::make_unique<ArrowStream>(*result_, layout_.names.size());
        }
        return arrow_->finish(out);
    });
}

void QueryExecution::note_cut() {
    if (partial_ && !cut_by_bytes_ && rows_ == query_.limit.value_or(-1)) {
        partial_ = false;  // The caller asked for no more.
    } else if (partial_) {
        warnings_.push_back(
            cut_by_bytes_
                ? fmt::format("the answer was cut after {} rows: the next would make it longer "
                              "than {} bytes (query.bytes_max)",
                              rows_,
                              query_.limits->bytes_max)
                : fmt::format("the answer was cut after {} rows (query.rows_max)", rows_));
    }
}

SqlStats QueryExecution::stats() const {
    SqlStats stats;
    stats.took_ms = (parts_.clock.steady_now().value - started_.value) / 1'000'000;
    stats.scanned_rows = counters_->rows;
    stats.scanned_bytes = counters_->bytes;
    stats.parts_total = counters_->parts_total;
    stats.parts_skipped = counters_->parts_total - counters_->parts_selected;
    stats.row_groups_total = counters_->row_groups_total;
    stats.row_groups_skipped = counters_->row_groups_total - counters_->row_groups_read;
    stats.index_parts = counters_->index_parts;
    stats.index_parts_whole = counters_->index_parts_whole;
    stats.index_parts_counted = counters_->index_parts_counted;
    stats.values_counted = counters_->values_counted;
    stats.index_rows = counters_->index_rows;
    stats.index_filters = counters_->index_filters;
    stats.object_gets = counters_->gets;
    stats.cache_hits = counters_->cache_hits;
    stats.hot_rows = counters_->hot_rows;
    stats.memory_peak_bytes = memory_peak_bytes_;
    return stats;
}

}  // namespace molesignal
