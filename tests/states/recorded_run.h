#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/states/recorded_disk.h"
#include "tests/states/row_ledger.h"
#include "tests/states/store_process.h"

namespace molesignal {

/// A disk before a run, what the run did to it, and what its client knew when.
struct RecordedRun {
    std::unique_ptr<CrashFs> disk;
    RowLedger ledger;
    std::vector<DiskOperation> operations;
    std::vector<LedgerNote> notes;

    /// How many operations a power cut can come before, and those that are of each kind.
    std::array<std::uint64_t, kChangingKinds> boundaries() const;
};

/// Runs `work` with a file system that records, on a copy of `disk`. `work` gets a sink for what
/// its client learns.
RecordedRun record_run(const CrashFs& disk,
                       const RowLedger& ledger,
                       const std::function<void(FileSystem&, const LedgerSink&)>& work);

/// Goes through a run once more, operation by operation. One thread at a time; the run outlives it.
class RunReplay {
public:
    explicit RunReplay(const RecordedRun& run);
    /// Goes on to just before the next operation that changes the disk; false: to the end, behind
    /// all of them. Not to be called after that.
    bool next_boundary();
    const CrashFs& disk() const { return disk_.disk(); }
    const RowLedger& ledger() const { return ledger_; }
    const DiskOperation* operation() const { return operation_; }

private:
    const RecordedRun& run_;
    ReplayedDisk disk_;
    RowLedger ledger_;
    std::size_t next_ = 0;
    const DiskOperation* operation_ = nullptr;
};

}  // namespace molesignal
