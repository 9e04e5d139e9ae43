#include "tests/states/reference_workload.h"

#include <atomic>
#include <thread>
#include <vector>

namespace molesignal {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

/// Three connections that write at once, so that one sync is for several requests.
Result<> write_at_once(StoreProcess& process) {
    std::atomic<int> failures = 0;
    std::vector<std::thread> writers;
    for (const auto* stream : {"app", "web", "app"}) {
        writers.emplace_back([&process, &failures, stream] {
            for (std::uint32_t i = 0; i < 4; ++i) {
                if (!process.ingest(stream, 1 + i % 2)) {
                    ++failures;
                }
            }
        });
    }
    for (auto& writer : writers) {
        writer.join();
    }
    return failures == 0 ? Result<>() : Error(ErrorCode::kInternal, "a writer failed");
}

Result<> write_rows(StoreProcess& process, SeededRandom& random) {
    MS_TRY_VOID(process.ingest("app", 1));
    MS_TRY_VOID(process.ingest("web", 5));
    MS_TRY_VOID(process.ingest("old", 4, hours(24 * 10)));
    for (int i = 0; i < 8; ++i) {
        process.advance(seconds(1));
        const auto* stream = random.next_u64() % 2 == 0 ? "app" : "web";
        MS_TRY_VOID(process.ingest(stream,
                                   1 + static_cast<std::uint32_t>(random.next_u64() % 6),
                                   hours(random.next_u64() % 3 == 0 ? 30 : 0)));
    }
    return write_at_once(process);
}

Result<> first_life(StoreProcess& process, SeededRandom& random) {
    MS_TRY_VOID(process.start());
    MS_TRY_VOID(write_rows(process, random));
    MS_TRY_VOID(process.flush_all());
    MS_TRY_VOID(write_rows(process, random));
    MS_TRY_VOID(process.ingest("app", 3, {}, CommitMode::kForce));
    process.ingester().maintain();
    MS_TRY_VOID(process.flush_all());
    MS_TRY_VOID(process.ingest("old", 2));
    MS_TRY_VOID(process.dump(2));  // One of them is of "old", and comes back at once.
    MS_TRY_VOID(process.expire("old", 7));
    MS_TRY_VOID(write_rows(process, random));
    MS_TRY_VOID(process.flush_all());
    MS_TRY_VOID(process.merge());
    MS_TRY_VOID(process.dump(1));
    process.advance(seconds(1000));
    MS_TRY_VOID(process.retain());
    MS_TRY_VOID(process.ingest("app", 2));
    return process.stop();
}

Result<> second_life(StoreProcess& process, SeededRandom& random) {
    MS_TRY_VOID(process.start());
    MS_TRY_VOID(process.ingest("web", 3));
    MS_TRY_VOID(process.drop("web"));
    MS_TRY_VOID(write_rows(process, random));
    MS_TRY_VOID(process.flush_all());
    MS_TRY_VOID(process.merge());
    MS_TRY_VOID(process.dump(1));
    process.advance(seconds(1000));
    MS_TRY_VOID(process.retain());
    MS_TRY_VOID(process.ingest("old", 1));
    // Every shard is closed when it is idle, and removed.
    process.advance(hours(1));
    process.await([&] { return process.ingester().stats().shards == 0; });
    MS_TRY_VOID(process.ingest("app", 2));
    return process.stop();
}

}  // namespace

Result<> run_reference_workload(FileSystem& fs, const LedgerSink& sink, std::uint64_t seed) {
    SeededRandom random(seed);
    StoreProcess process(fs, {.seed = seed}, sink);
    process.advance(seconds(0));  // Notes the time.
    MS_TRY_VOID(first_life(process, random));
    MS_TRY_VOID(second_life(process, random));
    MS_TRY_VOID(process.start());
    MS_TRY_VOID(process.ingest("app", 1));
    return process.stop();
}

}  // namespace molesignal
