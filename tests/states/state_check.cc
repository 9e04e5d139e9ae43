#include "tests/states/state_check.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

constexpr std::uint64_t kSecondCuts = 12;

StoreSettings settings_after(const RowLedger& ledger, std::uint64_t seed, std::size_t threads) {
    return {.flush_threads = threads,
            .seed = seed,
            .next_row = ledger.next_row(),
            .now_ns = ledger.now_ns()};
}

/// What is wrong with what a reader sees.
std::vector<std::string> read_all(StoreProcess& process, const RowLedger& ledger) {
    const auto found = process.find();
    if (!found) {
        return {"cannot be read: " + found.error().message()};
    }
    auto faults = ledger.faults(*found);
    const auto replay = process.ingester().wal().replay_stats();
    if (replay.damaged_records > 0) {
        faults.push_back(
            fmt::format("the log reports damage: {}", fmt::join(replay.findings, "; ")));
    }
    return faults;
}

/// Start, write, flush, restart; stops at the first thing that is wrong.
std::vector<std::string> go_on(FileSystem& files,
                               RowLedger& ledger,
                               std::uint64_t seed,
                               const LedgerSink& sink) {
    StoreProcess process(files, settings_after(ledger, seed, 1), [&](LedgerNote note) {
        note(ledger);
        sink(std::move(note));
    });
    const auto step = [&](std::string_view what, const auto& done) -> std::vector<std::string> {
        if (!done) {
            return {fmt::format("{}: {}", what, done.error().message())};
        }
        return read_all(process, ledger);
    };
    const auto wrong = [](std::vector<std::string>& faults, std::vector<std::string> more) {
        faults = std::move(more);
        return !faults.empty();
    };
    std::vector<std::string> faults;
    if (wrong(faults, step("does not start", process.start())) ||
        wrong(faults, step("does not take rows", process.ingest("app", 3))) ||
        wrong(faults, step("does not take rows", process.ingest("web", 1))) ||
        wrong(faults, step("does not flush", process.flush_all()))) {
        return faults;
    }
    // What earlier lives have left in the log is flushed and its shards are removed.
    process.await([&] { return process.ingester().stats().shards <= 2; });
    // What a merge has left is cleared when its lease is over.
    process.advance(std::chrono::seconds(400));
    if (wrong(faults, step("does not merge", process.merge()))) {
        return faults;
    }
    const auto left = process.leftovers();
    if (!left || !left->empty()) {
        return {left ? fmt::format("left over: {}", fmt::join(*left, ", "))
                     : left.error().message()};
    }
    if (const auto stopped = process.stop(); !stopped) {
        return {"does not stop: " + stopped.error().message()};
    }
    if (wrong(faults, step("does not start again", process.start()))) {
        return faults;
    }
    (void)process.stop();
    return faults;
}

}  // namespace

StateVerdict check_state(const CrashFs& disk,
                         const RowLedger& ledger,
                         std::uint64_t seed,
                         StateDepth depth) {
    StateVerdict verdict;
    if (depth == StateDepth::kStart) {
        const auto copy = disk.clone_after_kill();
        StoreProcess process(*copy, settings_after(ledger, seed, 0), [](const LedgerNote&) {});
        if (const auto started = process.start(); !started) {
            verdict.faults = {"does not start: " + started.error().message()};
        } else {
            verdict.faults = read_all(process, ledger);
        }
        return verdict;
    }
    const auto run = record_run(disk, ledger, [&](FileSystem& files, const LedgerSink& sink) {
        auto known = ledger;
        verdict.faults = go_on(files, known, seed, sink);
    });
    if (depth == StateDepth::kGoOn || !verdict.faults.empty()) {
        return verdict;
    }
    const auto counts = run.boundaries();
    std::uint64_t boundaries = 0;
    for (const auto count : counts) {
        boundaries += count;
    }
    SeededRandom random(seed);
    std::vector<std::uint64_t> chosen;
    for (std::uint64_t i = 0; i < kSecondCuts; ++i) {
        chosen.push_back(random.next_u64() % boundaries);
    }
    RunReplay replay(run);
    for (std::uint64_t number = 0; replay.next_boundary(); ++number) {
        for (auto hits = std::ranges::count(chosen, number); hits > 0; --hits) {
            const auto cut_seed = random.next_u64();
            const auto model = kCrashModels[cut_seed % std::size(kCrashModels)];
            const auto cut = replay.disk().clone_after_crash(cut_seed, model);
            auto second = check_state(*cut, replay.ledger(), cut_seed, StateDepth::kStart);
            ++verdict.states;
            for (auto& fault : second.faults) {
                verdict.faults.push_back(fmt::format("after a second power cut before '{}' {}: {}",
                                                     disk_operation_name(replay.operation()->kind),
                                                     replay.operation()->path,
                                                     fault));
            }
        }
    }
    return verdict;
}

}  // namespace molesignal
