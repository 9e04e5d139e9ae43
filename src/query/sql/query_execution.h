#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/metrics.h"
#include "query/query_registry.h"
#include "query/query_slots.h"
#include "query/query_watch.h"
#include "query/sql/arrow_stream.h"
#include "query/sql/guard/sql_guard.h"
#include "query/sql/instance_pool.h"
#include "query/sql/query_streams.h"
#include "query/sql/sql_engine.h"
#include "query/sql/value_text.h"

namespace duckdb {
class DataChunk;
class ErrorData;
class QueryResult;
}  // namespace duckdb

namespace molesignal {

/// What queries of one engine share. All references outlive the engine.
struct EngineParts {
    SqlEngineOptions options;
    Catalogue& catalogue;
    HotSource& hot;
    QueryRegistry& registry;
    Clock& clock;
    QuerySlots slots;
    InstancePool pool;
    QueryWatch watch;
    Histogram& seconds;
    Counter& started;
    Counter& failed;
    Counter& scanned_rows;
    Counter& scanned_bytes;
};

/// One query, from its slot to its last row. The slot and the instance are given back when the last
/// row was read, at the first error, when the deadline has passed (though the reader may be slow),
/// and at the latest by `close`. start, next and close: one thread at a time.
class QueryExecution final : public WatchedQuery {
public:
    QueryExecution(EngineParts& parts, RequestContext context, SqlQuery query, SteadyNanos started);
    ~QueryExecution() override;

    Result<> start();
    Result<bool> next(SqlFormat format, std::string& out);
    void close();

    SqlStats stats() const;
    const std::vector<std::string>& columns() const { return layout_.names; }
    const std::vector<std::string>& column_types() const { return types_; }
    bool partial() const { return partial_; }
    const std::vector<std::string>& warnings() const { return warnings_; }

    const RequestContext& context() const override { return context_; }
    void interrupt() override;
    void expire() override;

private:
    Result<> start_locked() MS_REQUIRES(mutex_);
    /// Checks, rewrites and plans the statement, and starts it.
    Result<> run_statement() MS_REQUIRES(mutex_);
    void lay_out(const GuardedStatement& guarded) MS_REQUIRES(mutex_);
    Result<bool> next_locked(SqlFormat format, std::string& out) MS_REQUIRES(mutex_);
    /// Fetches the next chunk if the one at hand has no more rows; none: the end.
    Result<> fetch_rows() MS_REQUIRES(mutex_);
    /// Appends rows of the chunk until it ends, the piece is large or a limit of the answer is met.
    Result<> append_rows(SqlFormat format, std::string& out) MS_REQUIRES(mutex_);
    /// At most `rows` rows and `bytes` bytes; returns how many rows.
    std::size_t append_text(SqlFormat format, std::size_t rows, std::size_t bytes, std::string& out)
        MS_REQUIRES(mutex_);
    Result<std::size_t> append_arrow(std::size_t rows, std::size_t bytes, std::string& out)
        MS_REQUIRES(mutex_);
    /// The warning of an answer that was cut.
    void note_cut();
    Result<> append_end(SqlFormat format, std::string& out) MS_REQUIRES(mutex_);
    /// Ends DuckDB's part of the query and gives back slot and instance. Nothing is read any more.
    void release() MS_REQUIRES(mutex_);
    Error to_error(const duckdb::ErrorData& error) MS_REQUIRES(mutex_);
    /// Runs what may throw DuckDB's exceptions.
    template <class Body>
    Result<> caught(const Body& body) MS_REQUIRES(mutex_);

    EngineParts& parts_;
    const RequestContext context_;
    const SqlQuery query_;
    const SteadyNanos started_;
    std::shared_ptr<ScanCounters> counters_;

    /// Held while a thread is inside the query.
    Mutex mutex_;
    QuerySlots::Slot slot_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<EngineInstance> instance_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<QueryStreams> streams_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<duckdb::QueryResult> result_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<duckdb::DataChunk> chunk_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<ChunkText> text_ MS_GUARDED_BY(mutex_);  ///< Of chunk_.
    std::size_t row_ MS_GUARDED_BY(mutex_) = 0;              ///< The next of chunk_.
    std::unique_ptr<ArrowStream> arrow_ MS_GUARDED_BY(mutex_);
    MemoryReservation piece_ MS_GUARDED_BY(mutex_);  ///< What `next` appended last.
    bool reusable_ MS_GUARDED_BY(mutex_) = true;
    bool released_ MS_GUARDED_BY(mutex_) = false;

    /// Guards only the way to interrupt: taken while another thread is inside the query.
    Mutex interrupt_mutex_;
    EngineInstance* running_ MS_GUARDED_BY(interrupt_mutex_) = nullptr;

    // Of the reading thread.
    bool closed_ = false;
    bool failed_ = false;
    bool header_done_ = false;
    bool ended_ = false;
    bool partial_ = false;
    bool cut_by_bytes_ = false;
    std::int64_t rows_ = 0;
    std::int64_t bytes_ = 0;
    std::atomic<std::int64_t> memory_peak_bytes_{0};
    RowLayout layout_;
    std::vector<std::string> types_;
    std::vector<std::string> warnings_;
};

}  // namespace molesignal
