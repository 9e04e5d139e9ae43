// A data directory as a killed server leaves it, with a write-ahead log of a wanted size:
//
//   make_log --data-dir DIR [--mib 1024] [--rows-per-batch 1] [--streams 1]
//
// A row is a log line of about 400 bytes in the log. bench/replay.py starts a server on it.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/metrics.h"
#include "common/random.h"
#include "ingest/batch_codec.h"
#include "ingest/ingester_state.h"
#include "io/posix_fs.h"
#include "metadata/open_catalogue.h"
#include "model/row_batch.h"
#include "wal/wal.h"

namespace molesignal {
namespace {

struct Options {
    std::string data_dir;
    std::uint64_t mib = 1024;
    std::uint32_t rows_per_batch = 1;
    std::uint32_t streams = 1;
};

void check(const Result<>& done) {
    if (!done) {
        fmt::print(stderr, "make_log: {}\n", done.error().message());
        std::exit(1);
    }
}

template <class Value>
Value must(Result<Value> result) {
    if (!result) {
        fmt::print(stderr, "make_log: {}\n", result.error().message());
        std::exit(1);
    }
    return std::move(*result);
}

RowBatch make_batch(std::uint32_t rows, std::int64_t time_ns, Random& random) {
    RowBatch batch;
    const auto text = [&](std::string_view name, std::uint32_t row, std::string_view value) {
        batch.columns[batch.find_or_add(name, FieldType::kString)].append_text(row, value);
    };
    for (std::uint32_t row = 0; row < rows; ++row) {
        batch.timestamps.push_back(time_ns + row);
        const auto chance = random.next_u64();
        text("service", row, fmt::format("service-{}", chance % 20));
        text("level", row, chance % 50 == 0 ? "error" : "info");
        text("host", row, fmt::format("host-{}", chance % 97));
        text("trace_id", row, fmt::format("{:016x}{:016x}", chance, random.next_u64()));
        text("message",
             row,
             fmt::format("request {:08x} of user {} took {} us; cache {}, shard {}, attempt {}, "
                         "answer {:016x}",
                         static_cast<std::uint32_t>(chance),
                         chance % 10'007,
                         chance % 90'000,
                         chance % 3 == 0 ? "miss" : "hit",
                         chance % 512,
                         chance % 4,
                         random.next_u64()));
        batch.columns[batch.find_or_add("status", FieldType::kInt64)].append_fixed(
            row, 200 + chance % 5);
        batch.columns[batch.find_or_add("duration_us", FieldType::kInt64)].append_fixed(
            row, chance % 90'000);
    }
    batch.finish();
    return batch;
}

int run(const Options& options) {
    PosixFs fs;
    SystemClock clock;
    SystemRandom random;
    MetricRegistry metrics;
    const auto context = RequestContext::background(clock, "make_log");
    check(fs.create_directories(options.data_dir));
    const auto catalogue =
        must(open_sqlite_catalogue(options.data_dir + "/meta.db", clock, random));
    check(catalogue->migrate(context));
    const auto org = must(catalogue->ensure_organization(context, "default"));
    const WalOptions wal_options{.total_bytes_max = (options.mib + 1024) << 20U};
    const auto wal =
        must(Wal::open(context, options.data_dir + "/wal", wal_options, fs, clock, metrics));
    std::vector<ShardId> shards;
    for (std::uint32_t i = 0; i < options.streams; ++i) {
        const auto stream = must(catalogue->ensure_stream(
            context, org.id, StreamType::kLogs, fmt::format("app{}", i), 100'000));
        const auto shard = must(
            catalogue->create_shard(context, stream.id, fmt::format("{:016x}", wal->log_id())));
        check(wal->create_queue(context, QueueId{shard.id.value}, describe_queue(stream)));
        shards.push_back(shard.id);
    }
    std::vector<std::uint64_t> next(shards.size(), 0);
    SeededRandom rows_random(1);
    std::uint64_t records = 0;
    for (Lsn last; wal->stats().appended_bytes < options.mib << 20U; ++records) {
        const auto at = records % shards.size();
        const auto batch = make_batch(options.rows_per_batch, clock.now().value, rows_random);
        const auto encoded = encode_batch(batch);
        last = must(wal->append(QueueId{shards[at].value},
                                Position{next[at]},
                                options.rows_per_batch,
                                encoded.pieces()));
        next[at] += options.rows_per_batch;
        if (records % 1000 == 0) {
            check(wal->commit(context, last));
        }
    }
    const auto bytes = wal->stats().appended_bytes;
    check(wal->close(context));
    fmt::print("{{\"records\": {}, \"rows\": {}, \"bytes\": {}}}\n",
               records,
               records * options.rows_per_batch,
               bytes);
    return 0;
}

}  // namespace
}  // namespace molesignal

int main(int argc, char** argv) {
    molesignal::Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        if (name == "--data-dir") {
            options.data_dir = argv[i + 1];
        } else if (name == "--mib") {
            options.mib = std::strtoull(argv[i + 1], nullptr, 10);
        } else if (name == "--rows-per-batch") {
            options.rows_per_batch =
                static_cast<std::uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
        } else if (name == "--streams") {
            options.streams = static_cast<std::uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
        }
    }
    if (options.data_dir.empty() || options.rows_per_batch == 0 || options.streams == 0) {
        fmt::print(stderr,
                   "usage: make_log --data-dir DIR [--mib N] [--rows-per-batch N] [--streams N]\n");
        return 2;
    }
    return molesignal::run(options);
}
