// The log: a good log with damage from the input opens, or says why not, and never delivers a row
// that was not written.
#include <algorithm>
#include <map>

#include "common/clock.h"
#include "common/metrics.h"
#include "fuzz.h"
#include "io/memory_fs.h"
#include "wal/wal.h"

namespace molesignal {
namespace {

constexpr const char* kDirectory = "/wal";

std::string payload_of(std::uint64_t queue, std::uint64_t position) {
    return "queue " + std::to_string(queue) + " row " + std::to_string(position) +
           std::string(position % 61, '.');
}

WalOptions small_log() {
    return {.segment_bytes = 4096, .total_bytes_max = 1U << 20U, .reserve_bytes = 0};
}

/// Three queues over a few small segments, one of them truncated, one deleted.
void write_log(MemoryFs& fs, Clock& clock) {
    MetricRegistry metrics;
    const auto context = RequestContext::background(clock, "fuzz");
    auto opened = Wal::open(context, kDirectory, small_log(), fs, clock, metrics);
    require(opened.has_value(), "a new log opens");
    auto& wal = **opened;
    for (std::uint64_t queue = 1; queue <= 3; ++queue) {
        require(wal.create_queue(context, QueueId{queue}, as_bytes("q")).has_value(), "queue made");
    }
    for (std::uint64_t row = 0; row < 40; ++row) {
        for (std::uint64_t queue = 1; queue <= 3; ++queue) {
            const auto payload = payload_of(queue, row);
            const Bytes pieces[] = {as_bytes(payload)};
            const auto lsn = wal.append(QueueId{queue}, Position{row}, 1, pieces);
            require(lsn.has_value() && wal.commit(context, *lsn).has_value(), "row committed");
        }
    }
    require(wal.truncate(context, QueueId{2}, Position{20}).has_value(), "truncated");
    require(wal.delete_queue(context, QueueId{3}).has_value(), "deleted");
    require(wal.close(context).has_value(), "closed");
}

/// A good log's files, written once.
const std::map<std::string, ByteBuffer>& good_log() {
    static const auto files = [] {
        MemoryFs fs;
        SystemClock clock;
        write_log(fs, clock);
        std::map<std::string, ByteBuffer> read;
        const auto entries = fs.list(kDirectory);
        for (const auto& entry : *entries) {
            if (entry.kind == EntryKind::kFile) {
                read[entry.name] = *read_file(fs, join_path(kDirectory, entry.name), 1U << 20U);
            }
        }
        return read;
    }();
    return files;
}

void restore(FileSystem& fs) {
    require(fs.create_directories(kDirectory).has_value(), "the directory is made");
    for (const auto& [name, bytes] : good_log()) {
        const auto file = fs.open(join_path(kDirectory, name), OpenMode::kCreateNew);
        require(file.has_value() && (*file)->write_at(0, bytes).has_value(), "the file is made");
    }
}

/// Each edit takes a file, an offset and a byte to flip, cut or zero from there.
void damage(MemoryFs& fs, FuzzInput& input) {
    const auto entries = fs.list(kDirectory);
    while (entries && !input.empty()) {
        const auto& entry = (*entries)[input.byte() % entries->size()];
        const auto kind = input.byte() % 4;
        const auto at = input.number();
        if (entry.kind != EntryKind::kFile) {
            continue;
        }
        const auto file = fs.open(join_path(kDirectory, entry.name), OpenMode::kReadWrite);
        if (!file || entry.size == 0) {
            continue;
        }
        const auto offset = at % entry.size;
        ByteBuffer bytes(std::min<std::uint64_t>(kind == 3 ? 512 : 1, entry.size - offset));
        (void)(*file)->read_at(offset, bytes);
        if (kind == 0) {
            bytes[0] ^= static_cast<std::byte>(1U << (input.byte() % 8U));
        } else if (kind == 1) {
            (void)(*file)->truncate(offset);
            continue;
        } else {
            std::ranges::fill(bytes,
                              kind == 2 ? static_cast<std::byte>(input.byte()) : std::byte{0});
        }
        (void)(*file)->write_at(offset, bytes);
    }
}

void run(FuzzInput input) {
    MemoryFs fs;
    SystemClock clock;
    restore(fs);
    damage(fs, input);
    MetricRegistry metrics;
    const auto context = RequestContext::background(clock, "fuzz");
    std::map<std::uint64_t, std::uint64_t> next;
    auto opened = Wal::open(context, kDirectory, small_log(), fs, clock, metrics);
    if (!opened) {
        return;
    }
    const auto replayed = (*opened)->replay(context, [&](const WalBatch& batch) {
        require(batch.queue.value >= 1 && batch.queue.value <= 3, "the queue was made");
        require(batch.rows == 1, "a batch has its rows");
        require(as_text(batch.payload) == payload_of(batch.queue.value, batch.begin.value),
                "a delivered row is what was written");
        auto& at = next[batch.queue.value];
        require(batch.begin.value >= at, "rows come once, in order");
        at = batch.begin.value + 1;
        return Result<>();
    });
    require(replayed.has_value(), "what opened can be replayed");
    require((*opened)->close(context).has_value(), "what opened closes");
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    molesignal::run(molesignal::FuzzInput(data, size));
    return 0;
}
