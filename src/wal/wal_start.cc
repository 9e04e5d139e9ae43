// Opening a log: what earlier runs have left, and its replay.
#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/random.h"
#include "wal/wal_log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_open_locked);
MS_DEFINE_FAILPOINT(wal_open_indexed);
MS_DEFINE_FAILPOINT(wal_open_unused_removed);
MS_DEFINE_FAILPOINT(wal_open_delivered);

constexpr std::string_view kQuarantine = "quarantine";

}  // namespace

Result<std::unique_ptr<Wal>> Wal::open(const RequestContext& context,
                                       const std::string& directory,
                                       const WalOptions& options,
                                       FileSystem& fs,
                                       Clock& clock,
                                       MetricRegistry& metrics) {
    if (options.segment_bytes < kSegmentBytesMin ||
        options.total_bytes_max < 2 * options.segment_bytes) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("wal.segment_size_mb ({} bytes) must be at least {} bytes and "
                                 "wal.total_mb ({} bytes) "
                                 "at least two segments",
                                 options.segment_bytes,
                                 kSegmentBytesMin,
                                 options.total_bytes_max));
    }
    MS_TRY_VOID(ensure_durable_directory(fs, directory));
    // Of its own, for the directory need not lie below the data directory.
    auto locked = fs.lock_directory(directory);
    if (!locked) {
        return std::move(locked).error().wrap("wal.dir");
    }
    MS_PASS_FAILPOINT(wal_open_locked);
    MS_TRY(auto index, index_log(context, fs, directory));
    MS_PASS_FAILPOINT(wal_open_indexed);
    auto log = std::make_unique<WalLog>(directory, options, fs, clock, metrics);
    MS_TRY_VOID(log->start(context, std::move(index), std::move(*locked)));
    return std::unique_ptr<Wal>(std::move(log));
}

Result<> WalLog::start(const RequestContext& context,
                       WalIndex index,
                       std::unique_ptr<DirectoryLock> lock) {
    lock_ = std::move(lock);
    for (const auto& finding : index.stats.findings) {
        log_error("the write-ahead log is damaged", {{"finding", finding}});
    }
    damaged_total_.add(static_cast<double>(index.stats.damaged_records));
    if (index.stats.suspect_records > 0) {
        log_warn(
            "whole records behind a hole in the log's tail are dropped: nothing says that they "
            "were acknowledged. If the power did not fail, the disk has changed the record "
            "before them",
            {{"records", index.stats.suspect_records}});
    }
    for (auto& unused : index.unused) {
        if (std::ranges::binary_search(index.damaged_segments, unused.number)) {
            index.unreadable.push_back(std::move(unused));
        } else {
            MS_TRY_VOID(fs_.remove(unused.path));
        }
    }
    MS_TRY_VOID(set_unreadable_aside(index));
    MS_PASS_FAILPOINT(wal_open_unused_removed);
    check_reserve();
    Lsn first;
    {
        const MutexLock guard(mutex_);
        replay_stats_ = index.stats;
        SystemRandom random;
        log_id_ = index.log_id != 0 ? index.log_id : random.next_u64();
        epoch_ = random.next_u64();
        accepted_lsn_ = index.accepted_lsn;
        next_lsn_ = Lsn{index.last_lsn.value + 1};
        run_first_lsn_ = next_lsn_;
        durable_lsn_ = index.last_lsn;
        synced_lsn_ = index.last_lsn;
        next_number_ = index.last_number + 1;
        MS_TRY_VOID(adopt_segments_locked(index));
        adopt_queues_locked(index);
        MS_TRY_VOID(ensure_room_locked(0, Purpose::kBookkeeping));
        first = Lsn{next_lsn_.value - 1};
    }
    MS_TRY_VOID(count_quarantined());
    MS_TRY_VOID(commit(context, first));
    rebuild_reserve();
    return {};
}

/// Writes what the file has below `end` once more. An earlier process may have ended after a sync
/// that failed: the kernel keeps such pages and calls them clean, so that a sync alone proves
/// nothing. Only for segments with records that nothing says are durable.
Result<> WalLog::write_again(File& file, std::uint64_t end) {
    constexpr std::uint64_t kPieceBytes = 1U << 20U;
    ByteBuffer piece;
    for (std::uint64_t at = 0; at < end; at += piece.size()) {
        piece.resize(std::min(kPieceBytes, end - at));
        const auto got = file.read_at(at, piece);
        if (!got || *got < piece.size()) {
            return {};  // Blocks that the device does not read are damage, and reported as such.
        }
        if (auto written = file.write_at(at, piece); !written) {
            if (written.error().code() != ErrorCode::kResourceExhausted) {
                return std::move(written).error().wrap("make the end of the log durable");
            }
            // A file system that writes elsewhere, and is full. The start must go on for a flush
            // to make room; rows of the log's end that were never acknowledged may still vanish.
            log_warn("there is no space to make the end of the log durable again",
                     {{"error", written.error().message()}});
            return {};
        }
    }
    return {};
}

Result<> WalLog::adopt_segments_locked(const WalIndex& index) {
    for (const auto& scanned : index.segments) {
        auto segment = std::make_shared<Segment>();
        segment->number = scanned.number;
        segment->path = scanned.path;
        segment->file_bytes = scanned.file_bytes;
        segment->used_bytes = scanned.end;
        segment->first_lsn = scanned.header.first_lsn;
        segment->damaged = std::ranges::binary_search(index.damaged_segments, scanned.number);
        segment->evict = !scanned.header_valid;
        // What is accepted now will be shown and flushed: it must not vanish in a
        // power cut.
        MS_TRY(const auto file, fs_.open(scanned.path, OpenMode::kReadWrite));
        if (scanned.last_lsn > index.durable_lsn) {
            MS_TRY_VOID(write_again(*file, scanned.end));
        }
        MS_TRY_VOID(file->sync());
        segments_.push_back(std::move(segment));
    }
    // Segments go from the oldest on, so that a hole is damage. Where one is gone out of turn, or
    // holds records of a newer one, all go.
    const auto newest = segments_.empty() ? 0 : segments_.back()->number;
    const bool out_of_turn = std::ranges::any_of(
        index.unreadable, [newest](const WalScannedSegment& gone) { return gone.number < newest; });
    if ((out_of_turn || index.is_shuffled) && newest > 0) {
        segments_.back()->evict = true;
    }
    return {};
}

void WalLog::adopt_queues_locked(WalIndex& index) {
    for (auto& [id, scanned] : index.queues) {
        auto& queue = queues_[id];
        queue.description = std::move(scanned.description);
        queue.truncated = scanned.truncated;
        queue.next = std::max(scanned.next, scanned.truncated);
        queue.extents = std::move(scanned.extents);
        SegmentPointer segment;
        for (const auto& extent : queue.extents) {
            if (segment == nullptr || segment->number != extent.segment) {
                segment = find_segment_locked(extent.segment);
            }
            segment->add_live(id, record_bytes(extent.payload_bytes));
        }
    }
}

Result<> WalLog::set_unreadable_aside(const WalIndex& index) {
    if (index.unreadable.empty()) {
        return {};
    }
    const auto directory = join_path(directory_, std::string(kQuarantine));
    MS_TRY_VOID(fs_.create_directories(directory));
    for (const auto& torn : index.unreadable) {
        // Nothing says that a record of it was durable; kept all the same, under
        // another name. A segment that the device does not read, or that was cut, is damaged.
        const bool damaged = std::ranges::binary_search(index.damaged_segments, torn.number);
        const auto* suffix = damaged ? "" : ".torn";
        const auto path = join_path(directory, segment_file_name(torn.number) + suffix);
        MS_TRY_VOID(fs_.rename(torn.path, path));
        log_info("a log segment that was torn when it was begun is set aside", {{"path", path}});
    }
    MS_TRY_VOID(fs_.sync_directory(directory));
    return fs_.sync_directory(directory_);
}

/// Damage is not forgotten at the next start: the files stay until somebody has looked at them.
Result<> WalLog::count_quarantined() {
    const auto directory = join_path(directory_, std::string(kQuarantine));
    std::uint64_t count = 0;
    MS_TRY(const auto exists, fs_.exists(directory));
    if (exists) {
        MS_TRY(const auto entries, fs_.list(directory));
        for (const auto& entry : entries) {
            std::uint64_t number = 0;
            count += parse_segment_file_name(entry.name, number) ? 1 : 0;
        }
    }
    quarantined_gauge_.set(static_cast<double>(count));
    const MutexLock lock(mutex_);
    replay_stats_.quarantined_before = count;
    return {};
}

Result<> WalLog::replay(const RequestContext& context,
                        const std::function<Result<>(const WalBatch&)>& on_batch) {
    std::vector<QueueId> ids;
    {
        const MutexLock lock(mutex_);
        for (const auto& [id, queue] : queues_) {
            ids.push_back(id);
        }
    }
    WalRecordReader reader(fs_);
    for (const auto id : ids) {
        MS_TRY_VOID(replay_queue(context, id, reader, on_batch));
    }
    MS_PASS_FAILPOINT(wal_open_delivered);
    if (auto collected = collect_garbage(); !collected) {
        // The log is whole and writable; the next truncate tries again.
        log_warn("old log segments could not be removed", {{"error", collected.error().message()}});
    }
    return {};
}

Result<> WalLog::replay_queue(const RequestContext& context,
                              QueueId id,
                              WalRecordReader& reader,
                              const std::function<Result<>(const WalBatch&)>& on_batch) {
    for (std::size_t i = 0;;) {
        MS_TRY_VOID(context.check());
        WalExtent extent;
        std::string path;
        {
            // Not held over the call; nobody changes the queue meanwhile.
            const MutexLock lock(mutex_);
            const auto& extents = queues_.at(id).extents;
            if (i >= extents.size()) {
                return {};
            }
            extent = extents[i];
            path = find_segment_locked(extent.segment)->path;
        }
        const auto payload = reader.read(path, extent);
        auto delivered = payload ? on_batch({.queue = id,
                                             .begin = extent.begin,
                                             .rows = extent.rows,
                                             .payload = *payload})
                                 : Result<>(payload.error());
        if (!delivered && delivered.error().code() == ErrorCode::kCorruption) {
            lose_extent(id, i, delivered.error());
            continue;
        }
        MS_TRY_VOID(std::move(delivered));
        ++i;
    }
}

void WalLog::lose_extent(QueueId id, std::size_t index, const Error& why) {
    const MutexLock lock(mutex_);
    auto& extents = queues_.at(id).extents;
    const auto extent = extents[index];
    const auto segment = find_segment_locked(extent.segment);
    segment->drop_live(id, record_bytes(extent.payload_bytes));
    extents.erase(extents.begin() + static_cast<std::ptrdiff_t>(index));
    report_damage_locked(segment,
                         1,
                         fmt::format("{}: the record at offset {}, rows {} to {} of queue {}: {}",
                                     segment->path,
                                     extent.offset,
                                     extent.begin.value,
                                     extent.end().value,
                                     id.value,
                                     why.message()));
}

}  // namespace molesignal
