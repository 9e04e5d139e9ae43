// Kills and power cuts at every operation of the reference workload, by every model of what is
// left.
#include <atomic>
#include <iostream>
#include <optional>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/log.h"
#include "common/mutex.h"
#include "tests/states/reference_workload.h"
#include "tests/states/state_check.h"
#include "tests/support/fault_fs.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::size_t kThreads = 2;

struct Effort {
    std::uint64_t seeds = 6;        ///< For each boundary and model that has chance in it.
    std::uint64_t go_on_each = 16;  ///< One state in so many is tried with kGoOn,
    std::uint64_t twice_each = 64;  ///< one with kTwice.
    std::uint64_t boundary_each = 1;
    std::size_t faults_max = 20;  ///< Then it is enough.
};
Effort effort() {
    if (test_variable("MS_TEST_FULL") == "1") {
        return {.seeds = 32, .go_on_each = 8, .twice_each = 24};
    }
    // Sanitizers: the same boundaries and models with less chance.
    return test_variable("MS_STATES_FEW") == "1"
               ? Effort{.seeds = 1, .go_on_each = 32, .twice_each = 256}
               : Effort();
}

/// What all threads together have seen.
struct Tally {
    std::atomic<std::uint64_t> states = 0;
    std::atomic<std::uint64_t> went_on = 0;
    std::atomic<std::uint64_t> second_cuts = 0;
    Mutex mutex;
    std::vector<std::string> faults MS_GUARDED_BY(mutex);

    std::vector<std::string> all_faults() {
        const MutexLock lock(mutex);
        return faults;
    }
};

std::uint64_t mix(std::uint64_t seed, std::uint64_t number) {
    SeededRandom random(seed ^ (number * 0x9e3779b97f4a7c15ULL));
    return random.next_u64();
}

/// What a power cut by `model` leaves or, without one, a process that is killed.
void check_one(const RunReplay& replay,
               std::optional<CrashModel> model,
               std::uint64_t seed,
               const Effort& wanted,
               Tally& tally) {
    const auto disk = model.has_value() ? replay.disk().clone_after_crash(seed, *model)
                                        : replay.disk().clone_after_kill();
    // A kill alone is mild: what counts is what the next process believes, and a cut then.
    const auto twice_each = model.has_value() ? wanted.twice_each : wanted.twice_each / 4;
    const auto depth = seed % twice_each == 0          ? StateDepth::kTwice
                       : seed % wanted.go_on_each == 1 ? StateDepth::kGoOn
                                                       : StateDepth::kStart;
    const auto verdict = check_state(*disk, replay.ledger(), seed, depth);
    tally.states += verdict.states;
    tally.second_cuts += verdict.states - 1;
    tally.went_on += depth == StateDepth::kStart ? 0 : 1;
    const MutexLock lock(tally.mutex);
    for (const auto& fault : verdict.faults) {
        const auto* operation = replay.operation();
        tally.faults.push_back(
            fmt::format("before '{} {}' model {} seed {}: {}",
                        operation == nullptr ? "the end" : disk_operation_name(operation->kind),
                        operation == nullptr ? "" : operation->path,
                        model.has_value() ? static_cast<int>(*model) : 0,
                        seed,
                        fault));
    }
}

/// The states of every boundary whose number leaves `share` when divided by the threads.
void check_share(const RecordedRun& run,
                 std::uint64_t seed,
                 std::uint64_t share,
                 const Effort& wanted,
                 Tally& tally) {
    RunReplay replay(run);
    for (std::uint64_t boundary = 0; replay.next_boundary(); ++boundary) {
        if (boundary % kThreads != share || boundary / kThreads % wanted.boundary_each != 0) {
            continue;
        }
        for (const auto model : kCrashModels) {
            const bool by_chance =
                model == CrashModel::kRandomBlocks || model == CrashModel::kTornSectors;
            for (std::uint64_t i = 0; i < (by_chance ? wanted.seeds : 1); ++i) {
                const auto number = (boundary * 8 + static_cast<std::uint64_t>(model)) * 64 + i;
                check_one(replay, model, mix(seed, number), wanted, tally);
            }
        }
        check_one(replay, std::nullopt, mix(seed, boundary * 8 * 64), wanted, tally);
        if (tally.all_faults().size() >= wanted.faults_max) {
            return;
        }
    }
    check_one(replay, CrashModel::kDropUnsynced, seed, wanted, tally);
}

void check_run(const RecordedRun& run, std::uint64_t seed, const Effort& wanted, Tally& tally) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] { check_share(run, seed, i, wanted, tally); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

class PowerLoss : public ::testing::Test {
protected:
    PowerLoss() { configure_log(LogLevel::kError, LogFormat::kText, clock_); }
    ~PowerLoss() override { configure_log(LogLevel::kInfo, LogFormat::kText, clock_); }

    /// The reference workload, on a device with this fault.
    static RecordedRun record(std::uint64_t seed, const std::optional<FsFault>& fault = {}) {
        const CrashFs empty;
        return record_run(empty, {}, [&](FileSystem& recorder, const LedgerSink& sink) {
            FaultFs files(recorder);
            if (fault.has_value()) {
                files.arm(*fault);
            }
            const auto done = run_reference_workload(files, sink, seed);
            EXPECT_TRUE(done) << done.error().message();
        });
    }

    SystemClock clock_;
};

TEST_F(PowerLoss, AtEveryOperationOfTheReferenceWorkloadLosesNothing) {
    const auto seed = test_seed();
    const auto run = record(seed);
    std::uint64_t boundaries = 0;
    const auto counts = run.boundaries();
    for (std::size_t kind = 0; kind < counts.size(); ++kind) {
        std::cout << fmt::format("{:8} {}\n",
                                 counts.at(kind),
                                 disk_operation_name(static_cast<DiskOperation::Kind>(kind)));
        boundaries += counts.at(kind);
    }
    Tally tally;
    check_run(run, seed, effort(), tally);
    std::cout << fmt::format(
        "{} states after kills and power cuts at {} boundaries, {} of them after another cut "
        "during the recovery; {} went on writing; seed {}\n",
        tally.states.load(),
        boundaries,
        tally.second_cuts.load(),
        tally.went_on.load(),
        seed);
    const auto faults = tally.all_faults();
    for (const auto& fault : faults) {
        ADD_FAILURE() << fault;
    }
    if (faults.empty()) {
        record_figure(
            "states",
            "states/power_loss",
            fmt::format("0 lost, 0 doubled, 0 altered, every start succeeds in {} states at {} "
                        "operations, {} of them after a second cut; each of 6 missing syncs is "
                        "noticed",
                        tally.states.load(),
                        boundaries,
                        tally.second_cuts.load()),
            seed);
    }
    EXPECT_GT(tally.states, boundaries * 4);
}

/// The harness must see it when a sync that matters is missing. Each of these is one that a
/// program could forget, or a device could ignore.
TEST_F(PowerLoss, ASyncThatIsMissingIsSeen) {
    struct Case {
        std::set<FsVerb> verbs;
        std::string path;
    };
    const std::vector<Case> cases = {
        {{FsVerb::kSync}, "data/wal/"},
        {{FsVerb::kSyncDirectory}, "data/wal"},
        {{FsVerb::kSync}, "data/objects/"},
        {{FsVerb::kSyncDirectory}, "data/objects/"},
        {{FsVerb::kSync}, "data/meta.db"},
        {{FsVerb::kSyncDirectory}, "data"},
    };
    const auto seed = test_seed();
    for (const auto& missing : cases) {
        const auto run = record(seed,
                                FsFault{.verbs = missing.verbs,
                                        .path_contains = missing.path,
                                        .plan = {.nth = 1, .times = FaultTimes::kForEver},
                                        .effect = FsFaultEffect::kSwallow});
        Tally tally;
        check_run(run, seed, {.seeds = 1, .boundary_each = 9, .faults_max = 1}, tally);
        const auto faults = tally.all_faults();
        if (!faults.empty()) {
            std::cout << fmt::format("without {}: {}\n", missing.path, faults.front());
        }
        EXPECT_FALSE(faults.empty())
            << "nobody misses the sync of " << missing.path << " in " << tally.states << " states";
    }
}

}  // namespace
}  // namespace molesignal
