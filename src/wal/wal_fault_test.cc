// Every operation of a reference workload fails, once and for ever.
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

}  // namespace
}  // namespace molesignal
