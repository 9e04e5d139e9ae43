#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/request_context.h"
#include "index/row_set.h"
#include "objectstore/object_store.h"
#include "query/sql/query_memory.h"
#include "query/sql/scan_report.h"
#include "query/sql/scan_source.h"
#include "query/sql/sql_engine.h"

namespace duckdb {
class Connection;
class DuckDB;
}  // namespace duckdb

namespace molesignal {

/// An object that the query may read, and which of its row groups it has touched.
struct ReadableObject {
    std::uint64_t bytes = 0;
    std::uint64_t xxh3 = 0;         ///< Of the object; 0: not known.
    std::uint64_t footer_xxh3 = 0;  ///< Of its footer; 0: not known.
    /// First byte and one past the last of its column chunks, sorted; known once it is open.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> chunks;
    std::vector<RowGroupInfo> row_groups;
    std::vector<bool> touched;  ///< By row group.
    bool selected = false;      ///< Some scan of the query has it in its list.
    /// First byte and one past the last of what is worth one request, sorted and apart: a read
    /// that lies in one of them brings it as a whole.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
};

/// What the indexes of a scan's parts have been asked.
struct IndexTally {
    std::int64_t parts = 0;
    std::int64_t parts_whole = 0;    ///< Read whole: too many rows are left.
    std::int64_t parts_counted = 0;  ///< Not read: their values were counted.
    std::int64_t rows = 0;           ///< Left.
    std::int64_t filters = 0;        ///< Answered alone.
};

/// What the scans of one instance read; shared with DuckDB's function and file system objects.
struct InstanceState {
    explicit InstanceState(std::shared_ptr<ObjectReader> objects) : reader(std::move(objects)) {}

    /// The source of a handle; throws DuckDB's BinderException if there is none.
    std::shared_ptr<const ScanSource> source(std::uint64_t handle);
    /// Notes that a scan is going to read a part, or rows of it.
    void select(const PartInfo& part);
    /// Keeps a selection until the end of the query. Throws DuckDB's OutOfMemoryException if the
    /// query may not take so much.
    const RowSet* keep_rows(RowSet rows);
    /// Counts what a scan's indexes were asked and have answered.
    void note_index(const IndexTally& tally);
    /// Keeps how a scan of the plan is going to read its stream, if that is to be explained. A
    /// later report of the same scan takes the place of an earlier one.
    void note_scan(std::uint64_t scan, const ScanReport& report);
    /// Tells where the column chunks of an object are, so that its pages are verified.
    void set_chunks(const std::string& path,
                    std::vector<std::pair<std::uint64_t, std::uint64_t>> chunks);
    /// Adds ranges of the object that are read in one request each.
    void read_together(const std::string& path,
                       const std::vector<std::pair<std::uint64_t, std::uint64_t>>& extents);

    const std::shared_ptr<ObjectReader> reader;  ///< Of all instances.
    Mutex mutex;
    /// By the handle that the rewritten statement names.
    std::map<std::uint64_t, std::shared_ptr<const ScanSource>> sources MS_GUARDED_BY(mutex);
    /// By key; no other object is opened.
    std::map<std::string, ReadableObject> readable MS_GUARDED_BY(mutex);
    RequestContext context MS_GUARDED_BY(mutex);
    /// Of the scans of this query.
    std::vector<std::unique_ptr<const RowSet>> selections MS_GUARDED_BY(mutex);
    QueryMemory* memory = nullptr;  ///< Of the instance.
    std::shared_ptr<ScanCounters> counters MS_GUARDED_BY(mutex);
    std::atomic<bool> explains{false};                                 ///< Reports are wanted.
    std::map<std::uint64_t, ScanReport> reports MS_GUARDED_BY(mutex);  ///< By scan.
};

/// One DuckDB, locked down, for one query at a time and one organisation for life.
class EngineInstance {
public:
    /// Spills below `spill_directory`, a directory of its own that is removed with it.
    /// kInternal: DuckDB could not be started.
    static Result<std::unique_ptr<EngineInstance>> make(const SqlEngineOptions& options,
                                                        const std::string& spill_directory,
                                                        std::shared_ptr<ObjectReader> objects);
    ~EngineInstance();

    /// Of the query between begin and end.
    duckdb::Connection& connection() { return *connection_; }
    /// What the query takes. Who calls DuckDB for the query does it inside a Scope of it.
    QueryMemory& memory() { return memory_; }
    /// Makes the instance ready for `context`'s query.
    void begin(const RequestContext& context, std::shared_ptr<ScanCounters> counters);
    /// Adds a stream; returns its handle.
    std::uint64_t add_source(std::shared_ptr<const ScanSource> source);
    /// Lets indexes count the values of the source's field; see query/sql/value_counts.h.
    Result<> count_values(const RequestContext& context, ScanSource& source);
    /// The query's statement is to be explained: its scans' reports are kept.
    void explain() { state_->explains = true; }
    /// Of the scans that the plan has, in its order.
    std::vector<ScanReport> scan_reports();
    /// Makes the query stop soon. Any thread.
    void interrupt();
    /// Ends the query, wherever it stands: nothing of it runs, and nothing of it is kept, after.
    void end();

private:
    EngineInstance(const SqlEngineOptions& options, std::string spill_directory);
    void start_workers(std::size_t threads);

    QueryMemory memory_;
    std::shared_ptr<InstanceState> state_;
    std::string spill_directory_;
    std::unique_ptr<duckdb::DuckDB> database_;
    /// DuckDB's tasks run on threads of ours, so that what they allocate is the query's.
    std::atomic<bool> working_{true};
    std::vector<std::thread> workers_;
    Mutex interrupt_mutex_;  ///< Guards the exchange of connection_.
    std::unique_ptr<duckdb::Connection> connection_;
    std::uint64_t next_handle_ = 1;
};

/// Names of the directories that instances spill to begin so.
inline constexpr std::string_view kSpillPrefix = "instance-";
/// Makes `directory` if it is missing, and removes what instances of an earlier process left in it;
/// nothing else.
void prepare_spill_directory(const std::string& directory);

/// The path of a part's Parquet object in the file system of `ms://` objects.
std::string object_path(const PartInfo& part);

/// Registers `ms_parts`, `ms_hot`, and the file system of `ms://` objects.
void register_part_scan(duckdb::DuckDB& database,
                        duckdb::Connection& connection,
                        const std::shared_ptr<InstanceState>& state);
void register_hot_scan(duckdb::DuckDB& database,
                       duckdb::Connection& connection,
                       const std::shared_ptr<InstanceState>& state);
void register_object_files(duckdb::DuckDB& database, const std::shared_ptr<InstanceState>& state);

}  // namespace molesignal
