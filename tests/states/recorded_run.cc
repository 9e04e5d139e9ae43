#include "tests/states/recorded_run.h"

#include "common/assert.h"

namespace molesignal {

std::array<std::uint64_t, kChangingKinds> RecordedRun::boundaries() const {
    std::array<std::uint64_t, kChangingKinds> counts = {};
    for (const auto& operation : operations) {
        if (changes_disk(operation)) {
            ++counts.at(static_cast<std::size_t>(operation.kind));
        }
    }
    return counts;
}

RecordedRun record_run(const CrashFs& disk,
                       const RowLedger& ledger,
                       const std::function<void(FileSystem&, const LedgerSink&)>& work) {
    RecordedRun run{
        .disk = disk.clone_after_kill(), .ledger = ledger, .operations = {}, .notes = {}};
    const auto base = disk.clone_after_kill();
    RecordingFs files(*base);
    Mutex mutex;
    work(files, [&](LedgerNote note) {
        const MutexLock lock(mutex);
        run.notes.push_back(std::move(note));
        files.note(run.notes.size() - 1);
    });
    run.operations = files.take();
    return run;
}

RunReplay::RunReplay(const RecordedRun& run)
    : run_(run), disk_(run.disk->clone_after_kill()), ledger_(run.ledger) {}

bool RunReplay::next_boundary() {
    if (operation_ != nullptr) {
        disk_.apply(*operation_);
        operation_ = nullptr;
    }
    for (; next_ < run_.operations.size(); ++next_) {
        const auto& operation = run_.operations[next_];
        if (changes_disk(operation)) {
            operation_ = &operation;
            ++next_;
            return true;
        }
        if (operation.kind == DiskOperation::Kind::kNote) {
            run_.notes.at(operation.note)(ledger_);
        } else {
            disk_.apply(operation);
        }
    }
    return false;
}

}  // namespace molesignal
