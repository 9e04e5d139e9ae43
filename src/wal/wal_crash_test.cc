// Power cuts at every operation of a reference workload, and during the
// recovery after them.
#include "wal/wal_fixture.h"

namespace molesignal {
namespace {

/// Opens after a power cut, checks, writes on, and checks again after a clean
/// restart.
std::string recover_and_check(TestDisk& disk, WalLedger ledger) {
    WalBench bench(ledger, disk);
    if (!bench.open()) {
        return "does not open: " + bench.fault;
    }
    if (auto fault = bench.check(); !fault.empty()) {
        return fault;
    }
    const auto& stats = bench.wal().replay_stats();
    if (stats.damaged_records != 0 || !stats.quarantined_segments.empty()) {
        return fmt::format("{} records reported as damaged", stats.damaged_records);
    }
    for (const auto& queue : bench.wal().queues()) {
        if (!bench.append(queue.queue.value, 1, "after the power cut", true)) {
            return "cannot append after the power cut";
        }
    }
    bench.crash();
    if (!bench.open()) {
        return "does not open again: " + bench.fault;
    }
    auto fault = bench.check();
    return fault.empty() && !bench.close() ? "does not close" : fault;
}

TEST(WalCrash, EveryPowerCutKeepsWhatWasAcknowledged) {
    const QuietLog quiet;
    const auto seed = test_seed();
    std::uint64_t states = 0;
    bool finished = false;
    for (std::uint64_t at = 1; !finished; ++at) {
        TestDisk disk;
        WalLedger ledger;
        disk.set_fault(TestDisk::Fault{.at = at, .for_ever = true});
        {
            WalBench bench(ledger, disk);
            finished = run_reference_workload(bench).has_value();
        }
        for (const auto model : kPowerCuts) {
            SeededRandom random(seed + at * 4 + static_cast<std::uint64_t>(model));
            auto after = disk.after_power_cut(model, random);
            ASSERT_EQ(recover_and_check(*after, ledger), "")
                << "power cut at operation " << at << ", model " << static_cast<int>(model);
            ++states;
        }
    }
    RecordProperty("states", static_cast<int>(states));
    EXPECT_GT(states, 400U);
}

TEST(WalCrash, EveryPowerCutDuringTheRecoveryKeepsItToo) {
    const QuietLog quiet;
    const auto seed = test_seed();
    SeededRandom random(seed);
    bool finished = false;
    for (std::uint64_t at = 1; !finished; at += 3) {
        TestDisk disk;
        WalLedger ledger;
        disk.set_fault(TestDisk::Fault{.at = at, .for_ever = true});
        {
            WalBench bench(ledger, disk);
            finished = run_reference_workload(bench).has_value();
        }
        const auto first = kPowerCuts[random.next_u64() % 4];
        for (std::uint64_t again = 1; again < 40; again += 1 + random.next_u64() % 3) {
            auto after = disk.after_power_cut(first, random);
            after->set_fault(TestDisk::Fault{.at = again, .for_ever = true});
            {
                WalBench bench(ledger, *after);
                (void)bench.open();
            }
            const auto second = kPowerCuts[random.next_u64() % 4];
            auto last = after->after_power_cut(second, random);
            ASSERT_EQ(recover_and_check(*last, ledger), "")
                << "power cuts at operation " << at << ", then " << again << ", models "
                << static_cast<int>(first) << ", " << static_cast<int>(second);
        }
    }
}

}  // namespace
}  // namespace molesignal
