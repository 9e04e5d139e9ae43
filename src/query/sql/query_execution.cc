#include "query/sql/query_execution.h"

#include <algorithm>

#include <duckdb.hpp>
#include <duckdb/main/pending_query_result.hpp>
#include <duckdb/main/stream_query_result.hpp>
#include <duckdb/parser/statement/select_statement.hpp>
#include <fmt/format.h>

#include "query/sql/query_error.h"
#include "query/sql/sql_guard.h"
#include "query/sql/value_text.h"

namespace molesignal {

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
    const QueryMemory::Scope scope(&instance_->memory());
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
    return caught([this]() MS_NO_THREAD_SAFETY_ANALYSIS { return run_statement(); });
}

Result<> QueryExecution::run_statement() {
    GuardLimits limits;
    limits.statement_bytes_max = parts_.options.statement_bytes_max;
    MS_TRY(
        auto statement,
        guard_statement(
            query_.statement, limits, [&](const GuardedTable& table) MS_NO_THREAD_SAFETY_ANALYSIS {
                return streams_->replace(context_, table);
            }));
    auto pending = instance_->connection().PendingQuery(
        duckdb::unique_ptr<duckdb::SQLStatement>(statement.release()), true);
    if (pending->HasError()) {
        return to_error(pending->GetErrorObject());
    }
    result_ = pending->Execute();
    if (result_->HasError()) {
        return to_error(result_->GetErrorObject());
    }
    for (duckdb::idx_t i = 0; i < result_->ColumnCount(); ++i) {
        columns_.push_back(result_->names[i]);
        types_.push_back(result_->types[i].ToString());
        names_json_.emplace_back();
        append_json_literal(result_->names[i], names_json_.back());
    }
    return {};
}

Result<std::unique_ptr<duckdb::DataChunk>> QueryExecution::fetch() {
    std::unique_ptr<duckdb::DataChunk> chunk;
    MS_TRY_VOID(caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS -> Result<> {
        chunk = result_->Fetch();
        if (result_->HasError()) {
            return to_error(result_->GetErrorObject());
        }
        return {};
    }));
    return chunk;
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
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            out += i == 0 ? "" : ",";
            append_csv_text(columns_[i], out);
        }
        out += "\r\n";
    }
    MS_TRY(auto chunk, fetch());
    const auto& options = parts_.options;
    const auto rows_max = std::min(options.rows_max, query_.limit.value_or(INT64_MAX));
    if (chunk != nullptr && chunk->size() > 0 && rows_ < rows_max && bytes_ < options.bytes_max) {
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
    note_cut();
    MS_TRY_VOID(encode_end(format, out));
    return false;
}

void QueryExecution::note_cut() {
    if (partial_ && rows_ == query_.limit.value_or(-1)) {
        partial_ = false;  // The caller asked for no more.
    } else if (partial_) {
        warnings_.push_back(
            bytes_ >= parts_.options.bytes_max
                ? fmt::format("the answer was cut after {} bytes (query.bytes_max)", bytes_)
                : fmt::format("the answer was cut after {} rows (query.rows_max)", rows_));
    }
}

Result<> QueryExecution::encode(SqlFormat format, duckdb::DataChunk& chunk, std::string& out) {
    return caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS -> Result<> {
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
    });
}

Result<> QueryExecution::encode_end(SqlFormat format, std::string& out) {
    if (format != SqlFormat::kArrow) {
        return {};
    }
    return caught([&]() MS_NO_THREAD_SAFETY_ANALYSIS -> Result<> {
        if (arrow_ == nullptr) {
            arrow_ = std::make_unique<ArrowStream>(*result_);
        }
        return arrow_->finish(out);
    });
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
    stats.object_gets = counters_->gets;
    stats.hot_rows = counters_->hot_rows;
    stats.memory_peak_bytes = memory_peak_bytes_;
    return stats;
}

}  // namespace molesignal
