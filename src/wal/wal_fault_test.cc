// Every operation of a reference workload fails, once and for ever.
#include "tests/support/crash_fs.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"
#include "wal/wal_fixture.h"

namespace molesignal {
namespace {

struct Run {
    bool finished = false;
    std::string fault;
};

/// The workload with one fault; then the fault goes away and everything
/// acknowledged must be there.
Run run_with(TestDisk::Fault fault) {
    TestDisk disk;
    WalLedger ledger;
    disk.set_fault(fault);
    Run run;
    {
        WalBench bench(ledger, disk);
        (void)run_reference_workload(bench);
        run.finished = !disk.fault_hit();
    }
    disk.set_fault(std::nullopt);
    WalBench bench(ledger, disk);
    if (!bench.open()) {
        run.fault = "does not open: " + bench.fault;
        return run;
    }
    run.fault = bench.check();
    if (run.fault.empty() && bench.wal().replay_stats().damaged_records != 0) {
        run.fault = fmt::format("{} records reported as damaged",
                                bench.wal().replay_stats().damaged_records);
    }
    for (const auto& queue : bench.wal().queues()) {
        if (run.fault.empty() && !bench.append(queue.queue.value, 1, "afterwards", true)) {
            run.fault = "cannot append afterwards";
        }
    }
    return run;
}

TEST(WalFault, EveryFailingOperationIsSurvived) {
    const QuietLog quiet;
    for (const auto code : {ErrorCode::kUnavailable, ErrorCode::kResourceExhausted}) {
        for (const bool for_ever : {false, true}) {
            for (std::uint64_t at = 1;; ++at) {
                const auto run = run_with({.at = at, .for_ever = for_ever, .code = code});
                ASSERT_EQ(run.fault, "") << "operation " << at << ", for ever " << for_ever
                                         << ", code " << static_cast<int>(code);
                if (run.finished) {
                    EXPECT_GT(at, 100U);
                    break;
                }
            }
        }
    }
}

TEST(WalFault, AFailedSyncIsMendedAndTheNextOneIsAcknowledged) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    disk.set_fault(TestDisk::Fault{.at = 2});  // The write works, the sync does not.
    EXPECT_TRUE(bench.append(1, 1, "moved to another segment", true));
    EXPECT_TRUE(disk.fault_hit());
    EXPECT_FALSE(bench.wal().stats().read_only);
    EXPECT_TRUE(bench.append(1, 1, "next", true));
    bench.crash();
    ASSERT_TRUE(bench.open());
    EXPECT_EQ(bench.check(), "");
    EXPECT_EQ(bench.replayed.size(), 2U);
}

TEST(WalFault, WhatCannotBeMendedIsNeverAcknowledged) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    disk.set_fault(TestDisk::Fault{.at = 1, .for_ever = true});
    EXPECT_FALSE(bench.append(1, 1, "refused", true));
    EXPECT_TRUE(bench.wal().stats().read_only);
    const auto again = bench.append(1, 1, "refused too", true);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::kUnavailable);
}

/// A client that is told "forbidden" or "not found" drops its rows.
TEST(WalFault, WhatTheDiskDoesNotAllowIsNoFaultOfWhoSendsRows) {
    const QuietLog quiet;
    for (const auto code : {ErrorCode::kForbidden, ErrorCode::kNotFound, ErrorCode::kConflict}) {
        TestDisk disk;
        WalLedger ledger;
        WalBench bench(ledger, disk);
        ASSERT_TRUE(bench.open());
        ASSERT_TRUE(bench.create(1));
        EXPECT_EQ(bench.wal().stats().problem, "");
        disk.set_fault(TestDisk::Fault{.at = 1, .for_ever = true, .code = code});
        const auto first = bench.append(1, 1, "refused", true);
        ASSERT_FALSE(first);
        EXPECT_EQ(first.error().code(), ErrorCode::kUnavailable) << first.error().message();
        EXPECT_TRUE(bench.wal().stats().read_only);
        // Whoever comes later hears the reason, too.
        const auto problem = bench.wal().stats().problem;
        EXPECT_NE(problem.find("create log segment"), std::string::npos) << problem;
        const auto second = bench.append(1, 1, "refused too", true);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code(), ErrorCode::kUnavailable);
        EXPECT_NE(second.error().message().find(problem), std::string::npos);
    }
}

TEST(WalFault, ASegmentThatCannotBeMadeIsNamedUntilRowsAreTakenAgain) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    disk.set_fault(TestDisk::Fault{.at = 1, .for_ever = true, .code = ErrorCode::kForbidden});
    // More than the segment has room for: nothing was written yet, so the log need not give up.
    const std::string large(bench.options.segment_bytes, 'l');
    const auto refused = bench.append(1, 1, large, true);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnavailable) << refused.error().message();
    EXPECT_FALSE(bench.wal().stats().read_only);
    EXPECT_NE(bench.wal().stats().problem.find("create log segment"), std::string::npos);
    disk.set_fault(std::nullopt);
    EXPECT_TRUE(bench.append(1, 1, large, true));
    EXPECT_EQ(bench.wal().stats().problem, "");
    bench.crash();
    ASSERT_TRUE(bench.open());
    EXPECT_EQ(bench.check(), "");
}

TEST(WalFault, WritesGoOnByThemselvesWhenThereIsSpaceAgain) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    ASSERT_TRUE(bench.append(1, 1, "before", true));
    disk.set_fault(
        TestDisk::Fault{.at = 1, .for_ever = true, .code = ErrorCode::kResourceExhausted});
    for (int i = 0; i < 3; ++i) {
        const auto refused = bench.append(1, 1, "no space", true);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    }
    EXPECT_FALSE(bench.wal().stats().read_only);
    EXPECT_TRUE(bench.wal().stats().out_of_space);
    disk.set_fault(std::nullopt);
    bench.clock().advance(std::chrono::seconds(1));
    EXPECT_TRUE(bench.append(1, 1, "after", true));
    EXPECT_FALSE(bench.wal().stats().out_of_space);
    bench.crash();
    ASSERT_TRUE(bench.open());
    EXPECT_EQ(bench.check(), "");
}

/// A kernel keeps the pages of a failed sync and calls them clean: another start reads them, and a
/// sync of them proves nothing.
TEST(WalFault, WhatAStartFindsOfAFailedSyncIsDurable) {
    const QuietLog quiet;
    // Large enough for the segment to stay as it is.
    const std::string first(1000, 'f');
    const std::string refused(1000, 'r');
    const std::string second(1000, 's');
    CrashFs disk;
    FaultFs files(disk);
    ManualClock clock;
    const auto context = RequestContext::background(clock, "test");
    MetricRegistry metrics;
    const auto open = [&](FileSystem& fs, std::vector<std::string>& rows) {
        auto wal = Wal::open(context, "wal", {.segment_bytes = 4096}, fs, clock, metrics).value();
        EXPECT_TRUE(wal->replay(context, [&](const WalBatch& batch) -> Result<> {
            rows.emplace_back(as_text(batch.payload));
            return {};
        }));
        EXPECT_EQ(wal->replay_stats().damaged_records, 0U);
        return wal;
    };
    const auto append = [&](Wal& wal, std::string_view text) -> Result<> {
        const Bytes payload[] = {as_bytes(text)};
        const auto queues = wal.queues();
        MS_TRY(const auto lsn, wal.append(QueueId{1}, queues.at(0).next, 1, payload));
        return wal.commit(context, lsn);
    };
    std::vector<std::string> rows;
    {
        const auto wal = open(files, rows);
        ASSERT_TRUE(wal->create_queue(context, QueueId{1}, {}));
        ASSERT_TRUE(append(*wal, first));
        files.arm({.verbs = {FsVerb::kSync},
                   .plan = {.times = FaultTimes::kForEver},
                   .failed_sync = [&](const std::string& path) { disk.lose_unsynced(path); }});
        EXPECT_FALSE(append(*wal, refused));
        files.disarm();
    }
    const auto wal = open(files, rows);
    ASSERT_EQ(rows, (std::vector<std::string>{first, refused})) << "not acknowledged, but there";
    ASSERT_TRUE(append(*wal, second));
    const auto after = disk.clone_after_crash(1, CrashModel::kDropUnsynced);
    std::vector<std::string> rows_after;
    (void)open(*after, rows_after);
    EXPECT_EQ(rows_after, (std::vector<std::string>{first, refused, second}));
}

}  // namespace
}  // namespace molesignal
