// Random operations against a model: what the ledger knows must be what a
// replay finds.
#include "wal/wal_fixture.h"

namespace molesignal {
namespace {

class RandomRun {
public:
    RandomRun(std::uint64_t seed, WalFlushStrategy strategy)
        : random_(seed), disk_(std::make_unique<TestDisk>()), bench_(make_bench(strategy)) {}

    std::string run(std::uint64_t steps) {
        if (!bench_->open()) {
            return bench_->fault;
        }
        for (std::uint64_t i = 0; i < steps; ++i) {
            if (auto fault = step(); !fault.empty()) {
                return fmt::format("step {}: {}", i, fault);
            }
        }
        return {};
    }

private:
    std::unique_ptr<WalBench> make_bench(WalFlushStrategy strategy) {
        auto bench = std::make_unique<WalBench>(ledger_, *disk_);
        bench->options.flush_strategy = strategy;
        return bench;
    }
    std::uint64_t below(std::uint64_t limit) { return random_.next_u64() % limit; }

    std::string step() {
        const auto queues = bench_->wal().queues();
        const auto choice = below(100);
        if (queues.empty() || choice < 4) {
            return bench_->create(++last_queue_) ? "" : "create failed";
        }
        const auto& queue = queues[below(queues.size())];
        if (choice < 70) {
            const auto size = below(10) == 0 ? below(6000) : below(300);
            const std::string text(size, static_cast<char>('a' + below(26)));
            const auto rows = static_cast<std::uint32_t>(1 + below(5));
            const auto done = bench_->append(queue.queue.value, rows, text, below(3) > 0);
            return done ? "" : "append: " + done.error().message();
        }
        if (choice < 90) {
            const auto span = queue.next.value - queue.truncated.value;
            const auto position = queue.truncated.value + below(span + 1);
            return bench_->truncate(queue.queue.value, position) ? "" : "truncate failed";
        }
        if (choice < 92) {
            return bench_->remove(queue.queue.value) ? "" : "delete failed";
        }
        return choice < 97 ? restart() : power_cut();
    }

    std::string restart() {
        if (below(2) == 0) {
            bench_->crash();  // The process ends, the machine goes on.
        } else if (!bench_->close()) {
            return "close failed";
        }
        return bench_->open() ? bench_->check() : bench_->fault;
    }

    std::string power_cut() {
        const auto strategy = bench_->options.flush_strategy;
        if (strategy == WalFlushStrategy::kNone) {
            return restart();  // Promises nothing about the machine.
        }
        bench_.reset();
        disk_ = disk_->after_power_cut(kPowerCuts[below(4)], random_);
        bench_ = make_bench(strategy);
        if (!bench_->open()) {
            return bench_->fault;
        }
        if (bench_->wal().replay_stats().damaged_records > 0) {
            return "a power cut is reported as damage";
        }
        return bench_->check();
    }

    SeededRandom random_;
    WalLedger ledger_;
    std::unique_ptr<TestDisk> disk_;
    std::unique_ptr<WalBench> bench_;
    std::uint64_t last_queue_ = 0;
};

TEST(WalModel, RandomOperationsAgreeWithTheLedger) {
    const QuietLog quiet;
    const auto seed = test_seed();
    for (std::uint64_t run = 0; run < 60; ++run) {
        for (const auto strategy :
             {WalFlushStrategy::kBatch, WalFlushStrategy::kEveryWrite, WalFlushStrategy::kNone}) {
            RandomRun random_run(seed + run, strategy);
            ASSERT_EQ(random_run.run(400), "")
                << "seed " << seed + run << ", strategy " << static_cast<int>(strategy);
        }
    }
}

}  // namespace
}  // namespace molesignal
