#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/random.h"
#include "compaction/compactor.h"
#include "compaction/part_dumper.h"
#include "compaction/retention.h"
#include "ingest/ingester.h"
#include "metadata/catalogue.h"
#include "objectstore/local_object_store.h"
#include "tests/states/faulty_catalogue.h"
#include "tests/states/row_ledger.h"
#include "tests/states/sqlite_mount.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"

namespace molesignal {

/// Where a process says what its client knows; called before and after each request.
using LedgerNote = std::function<void(RowLedger&)>;
using LedgerSink = std::function<void(LedgerNote)>;

struct StoreSettings {
    std::size_t flush_threads = 1;
    std::uint64_t segment_bytes = 16 << 10U;
    std::uint64_t total_bytes_max = 4 << 20U;
    std::uint64_t reserve_bytes = 0;
    std::uint64_t seed = 1;
    std::uint64_t next_row = 1;
    std::int64_t now_ns = ManualClock::kStart.value;
};

/// One process with all that keeps state: log, catalogue (SQLite), object store, compaction and
/// retention, all of them on one file system. The clock stands still unless the test moves it.
/// `ingest` may be called from any thread, the rest from one.
class StoreProcess {
public:
    StoreProcess(FileSystem& fs, const StoreSettings& settings, LedgerSink sink);
    ~StoreProcess();
    StoreProcess(const StoreProcess&) = delete;
    StoreProcess& operator=(const StoreProcess&) = delete;

    Result<> start();
    /// As SIGTERM does; after an error, or without a start, what there is is taken down.
    Result<> stop();

    bool is_running() const { return retention_ != nullptr; }

    /// Sends `rows` rows of that age in one request.
    Result<IngestReceipt> ingest(const std::string& stream,
                                 std::uint32_t rows,
                                 std::chrono::nanoseconds age = {},
                                 CommitMode mode = CommitMode::kAuto);
    /// Everything sent so far into parts; lets time pass while a flush has to be tried again.
    Result<> flush_all();
    Result<> drop(const std::string& stream);
    /// Sets the stream's retention and lets a round of it pass.
    Result<> expire(const std::string& stream, std::int32_t days);
    /// A round of retention that removes what is due.
    Result<RetentionReport> retain();
    /// A round of compaction; what a killed one left behind is cleared once its lease is over.
    Result<CompactionReport> merge();
    /// Moves lists of parts of days that are over from the catalogue into objects, at most so many.
    Result<PartDumpReport> dump(std::int64_t dumps_max);
    void advance(std::chrono::nanoseconds by);
    /// Lets time pass, a second a step, until `done`; the test's time-out ends what never comes.
    void await(const std::function<bool()>& done);

    /// All rows that a query would see: hot ones and those of parts, whose objects are compared
    /// with the catalogue.
    Result<std::vector<FoundRow>> find();
    /// What nothing refers to and nothing will remove: objects of no part and no flush, temporary
    /// files, flushes that are pending although none runs.
    Result<std::vector<std::string>> leftovers();

    Ingester& ingester() { return *ingester_; }
    Catalogue& catalogue() { return *faulty_catalogue; }
    const OrgId& org() const { return org_; }
    ManualClock& clock() { return clock_; }
    const RequestContext& context() const { return context_; }

    /// Made by `start`, armed with these if they are set; gone after `stop`.
    std::optional<CatalogueFault> fault_of_catalogue;
    std::optional<ObjectFault> fault_of_objects;
    std::unique_ptr<FaultyCatalogue> faulty_catalogue;
    std::unique_ptr<FaultyObjectStore> faulty_objects;

private:
    Result<> find_in_parts(const StreamSnapshot& snapshot, std::vector<FoundRow>& rows);

    FileSystem& fs_;
    const StoreSettings settings_;
    LedgerSink sink_;
    ManualClock clock_;
    SeededRandom random_;
    MetricRegistry metrics_;
    RequestContext context_;
    SqliteMount mount_;
    std::atomic<std::uint64_t> next_row_;
    std::unique_ptr<Catalogue> catalogue_;
    std::unique_ptr<LocalObjectStore> objects_;
    std::unique_ptr<Ingester> ingester_;
    std::unique_ptr<Compactor> compactor_;
    std::unique_ptr<PartDumper> dumper_;
    std::unique_ptr<Retention> retention_;
    OrgId org_;
    std::map<std::string, std::int32_t> retention_days_;  ///< That `expire` has set.
};

}  // namespace molesignal
