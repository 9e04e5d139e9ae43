// Truncation; removal and rewriting of segments.
#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "wal/wal_log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_before_truncate_record);
MS_DEFINE_FAILPOINT(wal_queue_deleted);
MS_DEFINE_FAILPOINT(wal_before_unlink);
MS_DEFINE_FAILPOINT(wal_after_unlink);
MS_DEFINE_FAILPOINT(wal_before_quarantine);
MS_DEFINE_FAILPOINT(wal_rewrite_appended);
MS_DEFINE_FAILPOINT(wal_rewrite_committed);

constexpr std::string_view kQuarantine = "quarantine";
/// Findings that are kept for health; all are logged and counted.
constexpr std::size_t kFindingsMax = 100;

}  // namespace

Result<> WalLog::truncate(const RequestContext& context, QueueId id, Position position) {
    (void)context;
    MS_PASS_FAILPOINT(wal_before_truncate_record);
    {
        const MutexLock lock(mutex_);
        const auto found = queues_.find(id);
        if (found == queues_.end()) {
            return Error(ErrorCode::kNotFound, fmt::format("the log has no queue {}", id.value));
        }
        auto& queue = found->second;
        if (position <= queue.truncated) {
            return {};
        }
        // Not synced here: a lost truncate makes the next replay longer, nothing
        // else.
        MS_TRY_VOID(append_bookkeeping_locked(
            {.kind = WalRecordKind::kTruncate, .queue = id, .position = position}, {}));
        queue.truncated = position;
        queue.next = std::max(queue.next, position);
        while (!queue.extents.empty() && queue.extents.front().end() <= position) {
            const auto& extent = queue.extents.front();
            find_segment_locked(extent.segment)->drop_live(id, record_bytes(extent.payload_bytes));
            queue.extents.pop_front();
        }
    }
    return collect_garbage();
}

Result<> WalLog::delete_queue(const RequestContext& context, QueueId id) {
    (void)context;
    {
        const MutexLock lock(mutex_);
        if (!queues_.contains(id)) {
            return Error(ErrorCode::kNotFound, fmt::format("the log has no queue {}", id.value));
        }
        MS_TRY_VOID(
            append_bookkeeping_locked({.kind = WalRecordKind::kQueueDeleted, .queue = id}, {}));
        drop_queue_locked(id);
    }
    MS_PASS_FAILPOINT(wal_queue_deleted);
    return collect_garbage();
}

Result<> WalLog::collect_garbage() {
    {
        const MutexLock lock(mutex_);
        if (collecting_) {
            return {};
        }
        collecting_ = true;
    }
    Result<> result;
    while (true) {
        auto more = collect_oldest();
        if (!more) {
            result = std::move(more).error().wrap("remove old log segments");
            break;
        }
        if (!*more) {
            break;
        }
    }
    const MutexLock lock(mutex_);
    collecting_ = false;
    return result;
}

/// Whether the oldest segment can go: nothing of it is alive, or so little that it is rewritten.
bool WalLog::worth_collecting_locked() const {
    const auto& oldest = *segments_.front();
    const auto share = options_.rewrite_live_share;
    // Rewritten if little of it is alive, or if it pins a log that is mostly
    // dead. A damaged segment is rewritten too, with all before it, so that it
    // can go to quarantine.
    const bool thin =
        static_cast<double>(oldest.live_bytes) < share * static_cast<double>(oldest.file_bytes);
    const bool pinning =
        segments_.size() > 3 && static_cast<double>(live_bytes_locked()) <
                                    share * static_cast<double>(bytes_on_disk_locked());
    const bool damaged = std::ranges::any_of(
        segments_, [](const auto& segment) { return segment->damaged || segment->evict; });
    return oldest.live_bytes == 0 || thin || pinning || damaged;
}

Result<bool> WalLog::collect_oldest() {
    SegmentPointer oldest;
    bool live = false;
    {
        const MutexLock lock(mutex_);
        if (read_only_ || segments_.size() < 2 || segments_.front() == active_ ||
            !worth_collecting_locked()) {
            return false;
        }
        oldest = segments_.front();
        // Stable before this segment's records go: the active segment's queue
        // table, the truncates that freed it, and its own records, which may not
        // even be written yet.
        MS_TRY_VOID(wait_locked(Lsn{next_lsn_.value - 1}, true));
        live = oldest->live_bytes > 0;
    }
    if (live) {
        MS_TRY_VOID(rewrite(RequestContext::background(clock_, "wal"), oldest));
    }
    {
        const MutexLock lock(mutex_);
        if (oldest->live_bytes > 0 || segments_.front() != oldest || oldest == active_) {
            return false;
        }
    }
    // It leaves the list only when the file is gone for good: what follows it
    // must not go before.
    MS_TRY_VOID(retire(*oldest));
    {
        const MutexLock lock(mutex_);
        segments_.pop_front();
    }
    rebuild_reserve();
    return true;
}

/// Appends what is alive of `segment` again, as it stands in the file.
Result<> WalLog::rewrite(const RequestContext& context, const SegmentPointer& segment) {
    MS_TRY_VOID(scan_segment(context,
                             fs_,
                             segment->path,
                             segment->number,
                             [&](const WalScannedRecord& record) -> Result<> {
                                 const MutexLock lock(mutex_);
                                 return rewrite_record_locked(record, segment);
                             }));
    Lsn last;
    {
        const MutexLock lock(mutex_);
        if (segment->live_bytes > 0) {
            drop_unreadable_locked(segment);
        }
        last = Lsn{next_lsn_.value - 1};
    }
    MS_PASS_FAILPOINT(wal_rewrite_appended);
    // The copies are on disk before the originals may go.
    {
        const MutexLock lock(mutex_);
        MS_TRY_VOID(wait_locked(last, true));
    }
    MS_PASS_FAILPOINT(wal_rewrite_committed);
    return {};
}

Result<> WalLog::rewrite_record_locked(const WalScannedRecord& record, const SegmentPointer& from) {
    const auto& header = record.header;
    const auto found = queues_.find(header.queue);
    if (header.kind != WalRecordKind::kBatch || found == queues_.end()) {
        return {};
    }
    auto& extents = found->second.extents;
    const auto extent = std::ranges::lower_bound(extents, header.position, {}, &WalExtent::begin);
    if (extent == extents.end() || extent->begin != header.position ||
        extent->segment != from->number || extent->offset != record.offset) {
        return {};  // Truncated, or a copy of it counts.
    }
    const auto size = record_bytes(record.payload.size());
    MS_TRY_VOID(ensure_room_locked(size, Purpose::kBookkeeping));
    const auto offset = active_->used_bytes;
    const Bytes pieces[] = {record.payload};
    append_record_locked({.kind = WalRecordKind::kBatch,
                          .queue = header.queue,
                          .position = header.position,
                          .rows = header.rows,
                          .payload_crc = header.payload_crc},
                         pieces);
    from->drop_live(header.queue, size);
    active_->add_live(header.queue, size);
    extent->segment = active_->number;
    extent->offset = offset;
    rewritten_total_.add(static_cast<double>(size));
    return {};
}

/// What is alive and did not turn up in the file is lost to a replay; its rows are in memory until
/// they are flushed.
void WalLog::drop_unreadable_locked(const SegmentPointer& segment) {
    std::uint64_t lost = 0;
    const auto ids = segment->live;
    for (const auto& entry : ids) {
        const auto id = entry.first;
        std::erase_if(queues_.at(id).extents, [&](const WalExtent& extent) MS_REQUIRES(mutex_) {
            if (extent.segment != segment->number) {
                return false;
            }
            segment->drop_live(id, record_bytes(extent.payload_bytes));
            ++lost;
            return true;
        });
    }
    report_damage_locked(
        segment, lost, fmt::format("{}: {} records cannot be read back", segment->path, lost));
}

void WalLog::report_damage_locked(const SegmentPointer& segment,
                                  std::uint64_t records,
                                  std::string finding) {
    log_error("the write-ahead log is damaged", {{"finding", finding}});
    segment->damaged = true;
    damaged_total_.add(static_cast<double>(records));
    replay_stats_.damaged_records += records;
    if (replay_stats_.findings.size() < kFindingsMax) {
        replay_stats_.findings.push_back(std::move(finding));
    }
}

std::optional<QueueId> WalLog::pinning_queue() const {
    const MutexLock lock(mutex_);
    if (segments_.empty() || check_budget_locked(2 * options_.segment_bytes)) {
        return std::nullopt;
    }
    const auto& live = segments_.front()->live;
    const auto most =
        std::ranges::max_element(live, {}, [](const auto& entry) { return entry.second; });
    return most == live.end() ? std::nullopt : std::optional(most->first);
}

Result<> WalLog::retire(const Segment& segment) {
    const auto unless_gone = [](Result<> done) {
        return !done && done.error().code() == ErrorCode::kNotFound ? Result<>() : done;
    };
    if (segment.damaged) {
        MS_PASS_FAILPOINT(wal_before_quarantine);
        const auto directory = join_path(directory_, std::string(kQuarantine));
        MS_TRY_VOID(fs_.create_directories(directory));
        const auto path = join_path(directory, segment_file_name(segment.number));
        MS_TRY_VOID(unless_gone(fs_.rename(segment.path, path)));
        MS_TRY_VOID(fs_.sync_directory(directory));
        quarantined_gauge_.add(1);
        {
            const MutexLock lock(mutex_);
            replay_stats_.quarantined_segments.push_back(path);
        }
        log_warn("a damaged log segment was moved to quarantine", {{"path", path}});
    } else {
        MS_PASS_FAILPOINT(wal_before_unlink);
        MS_TRY_VOID(unless_gone(fs_.remove(segment.path)));
    }
    MS_PASS_FAILPOINT(wal_after_unlink);
    return fs_.sync_directory(directory_);
}

}  // namespace molesignal
