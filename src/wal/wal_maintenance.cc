// Start, truncation, removal and rewriting of segments, mending after failed
// writes, closing.
#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/random.h"
#include "wal/wal_log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_open_indexed);
MS_DEFINE_FAILPOINT(wal_open_unused_removed);
MS_DEFINE_FAILPOINT(wal_open_delivered);
MS_DEFINE_FAILPOINT(wal_before_truncate_record);
MS_DEFINE_FAILPOINT(wal_queue_deleted);
MS_DEFINE_FAILPOINT(wal_before_unlink);
MS_DEFINE_FAILPOINT(wal_after_unlink);
MS_DEFINE_FAILPOINT(wal_before_quarantine);
MS_DEFINE_FAILPOINT(wal_rewrite_appended);
MS_DEFINE_FAILPOINT(wal_rewrite_committed);

constexpr std::string_view kQuarantine = "quarantine";
constexpr std::string_view kReserve = "reserve";

}  // namespace

Result<std::unique_ptr<Wal>> Wal::open(const RequestContext& context,
                                       const std::string& directory,
                                       const WalOptions& options,
                                       FileSystem& fs,
                                       Clock& clock,
                                       MetricRegistry& metrics,
                                       const std::function<Result<>(const WalBatch&)>& on_batch) {
    constexpr std::uint64_t kSegmentBytesMin = 4096;
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
    MS_TRY_VOID(fs.create_directories(directory));
    MS_TRY(auto index, index_log(context, fs, directory));
    MS_PASS_FAILPOINT(wal_open_indexed);
    auto log = std::make_unique<WalLog>(directory, options, fs, clock, metrics);
    MS_TRY_VOID(log->start(context, std::move(index), on_batch));
    return std::unique_ptr<Wal>(std::move(log));
}

Result<> WalLog::start(const RequestContext& context,
                       WalIndex index,
                       const std::function<Result<>(const WalBatch&)>& on_batch) {
    replay_stats_ = index.stats;
    for (const auto& finding : index.damage) {
        log_error("the write-ahead log is damaged", {{"finding", finding}});
    }
    for (const auto& unused : index.unused) {
        MS_TRY_VOID(fs_.remove(unused.path));
    }
    MS_TRY_VOID(set_unreadable_aside(index));
    MS_PASS_FAILPOINT(wal_open_unused_removed);
    {
        const MutexLock lock(mutex_);
        SystemRandom random;
        log_id_ = index.log_id != 0 ? index.log_id : random.next_u64();
        epoch_ = random.next_u64();
        accepted_lsn_ = index.accepted_lsn;
        next_lsn_ = Lsn{index.last_lsn.value + 1};
        run_first_lsn_ = next_lsn_;
        durable_lsn_ = index.last_lsn;
        synced_lsn_ = index.last_lsn;
        next_number_ = index.last_number + 1;
        std::map<std::uint64_t, std::shared_ptr<Segment>> by_number;
        for (const auto& scanned : index.segments) {
            auto segment = std::make_shared<Segment>();
            segment->number = scanned.number;
            segment->path = scanned.path;
            segment->file_bytes = scanned.file_bytes;
            segment->used_bytes = scanned.end;
            segment->first_lsn = scanned.header.first_lsn;
            segment->damaged = std::ranges::binary_search(index.damaged_segments, scanned.number);
            segment->evict = !scanned.header_valid;
            MS_TRY(segment->file, fs_.open(scanned.path, OpenMode::kReadWrite));
            // What is accepted now will be shown and flushed: it must not vanish in a
            // power cut.
            MS_TRY_VOID(segment->file->sync());
            by_number[scanned.number] = segment;
            segments_.push_back(std::move(segment));
        }
        for (auto& [id, scanned] : index.queues) {
            auto& queue = queues_[id];
            queue.description = std::move(scanned.description);
            queue.truncated = scanned.truncated;
            queue.next = std::max(scanned.next, scanned.truncated);
            for (const auto& extent : scanned.extents) {
                const auto& segment = by_number.at(extent.segment);
                segment->live_bytes += record_bytes(extent.payload_bytes);
                queue.extents.push_back({.begin = extent.begin,
                                         .end = extent.end(),
                                         .payload_bytes = extent.payload_bytes,
                                         .offset = extent.offset,
                                         .segment = segment});
            }
        }
    }
    MS_TRY_VOID(deliver(context, on_batch));
    MS_PASS_FAILPOINT(wal_open_delivered);
    Lsn first;
    {
        const MutexLock lock(mutex_);
        MS_TRY(const auto reserved, fs_.exists(join_path(directory_, std::string(kReserve))));
        has_reserve_ = reserved;
        MS_TRY_VOID(ensure_room_locked(0, Purpose::kBookkeeping));
        first = Lsn{next_lsn_.value - 1};
    }
    MS_TRY_VOID(commit(context, first));
    rebuild_reserve();
    collect_at_start();
    return {};
}

void WalLog::collect_at_start() {
    if (auto collected = collect_garbage(); !collected) {
        // The log is whole and writable; the next truncate tries again.
        log_warn("old log segments could not be removed", {{"error", collected.error().message()}});
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
        // another name.
        const auto path = join_path(directory, segment_file_name(torn.number) + ".torn");
        MS_TRY_VOID(fs_.rename(torn.path, path));
        log_info("a log segment that was torn when it was begun is set aside", {{"path", path}});
    }
    MS_TRY_VOID(fs_.sync_directory(directory));
    return fs_.sync_directory(directory_);
}

Result<> WalLog::deliver(const RequestContext& context,
                         const std::function<Result<>(const WalBatch&)>& on_batch) {
    // Nobody else knows the log yet, so the queues do not change meanwhile.
    std::vector<std::pair<QueueId, Extent>> extents;
    {
        const MutexLock lock(mutex_);
        for (const auto& [id, queue] : queues_) {
            for (const auto& extent : queue.extents) {
                extents.emplace_back(id, extent);
            }
        }
    }
    ByteBuffer record;
    for (const auto& [id, extent] : extents) {
        MS_TRY_VOID(context.check());
        record.resize(kRecordHeaderBytes + extent.payload_bytes);
        MS_TRY(const auto got, extent.segment->file->read_at(extent.offset, record));
        auto header = decode_record_header(Bytes(record).first(std::min(got, record.size())));
        const auto payload = Bytes(record).subspan(kRecordHeaderBytes);
        if (!header || got != record.size() || crc32c(payload) != header->payload_crc) {
            return Error(ErrorCode::kUnavailable,
                         fmt::format("{}: the record at offset {} was good a moment "
                                     "ago and is not now",
                                     extent.segment->path,
                                     extent.offset));
        }
        MS_TRY_VOID(on_batch(
            {.queue = id, .begin = extent.begin, .rows = header->rows, .payload = payload}));
    }
    return {};
}

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
        while (!queue.extents.empty() && queue.extents.front().end <= position) {
            queue.extents.front().segment->live_bytes -=
                record_bytes(queue.extents.front().payload_bytes);
            queue.extents.pop_front();
        }
    }
    return collect_garbage();
}

Result<> WalLog::delete_queue(const RequestContext& context, QueueId id) {
    (void)context;
    {
        const MutexLock lock(mutex_);
        const auto found = queues_.find(id);
        if (found == queues_.end()) {
            return Error(ErrorCode::kNotFound, fmt::format("the log has no queue {}", id.value));
        }
        MS_TRY_VOID(
            append_bookkeeping_locked({.kind = WalRecordKind::kQueueDeleted, .queue = id}, {}));
        for (const auto& extent : found->second.extents) {
            extent.segment->live_bytes -= record_bytes(extent.payload_bytes);
        }
        queues_.erase(found);
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

Result<bool> WalLog::collect_oldest() {
    std::shared_ptr<Segment> oldest;
    bool live = false;
    {
        const MutexLock lock(mutex_);
        if (read_only_ || segments_.size() < 2 || segments_.front() == active_) {
            return false;
        }
        oldest = segments_.front();
        live = oldest->live_bytes > 0;
        const auto total = bytes_on_disk_locked();
        const auto share = options_.rewrite_live_share;
        // Rewritten if little of it is alive, or if it pins a log that is mostly
        // dead. A damaged segment is rewritten too, with all before it, so that it
        // can go to quarantine.
        const bool thin = static_cast<double>(oldest->live_bytes) <
                          share * static_cast<double>(oldest->file_bytes);
        const bool pinning = segments_.size() > 3 && static_cast<double>(live_bytes_locked()) <
                                                         share * static_cast<double>(total);
        const bool damaged = std::ranges::any_of(
            segments_, [](const auto& segment) { return segment->damaged || segment->evict; });
        if (live && !thin && !pinning && !damaged) {
            return false;
        }
        // Stable before this segment's records go: the active segment's queue
        // table, the truncates that freed it, and its own records, which may not
        // even be written yet.
        MS_TRY_VOID(wait_locked(Lsn{next_lsn_.value - 1}, true));
    }
    if (live) {
        MS_TRY_VOID(rewrite_oldest(oldest));
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
    (void)oldest->file->close();
    rebuild_reserve();
    return true;
}

Result<> WalLog::rewrite_oldest(const std::shared_ptr<Segment>& segment) {
    std::vector<std::pair<QueueId, Position>> wanted;
    {
        const MutexLock lock(mutex_);
        for (const auto& [id, queue] : queues_) {
            for (const auto& extent : queue.extents) {
                if (extent.segment == segment) {
                    wanted.emplace_back(id, extent.begin);
                }
            }
        }
    }
    Lsn last;
    ByteBuffer record;
    for (const auto& [id, begin] : wanted) {
        const MutexLock lock(mutex_);
        const auto found = queues_.find(id);
        if (found == queues_.end()) {
            continue;
        }
        auto& extents = found->second.extents;
        const auto extent = std::ranges::find(extents, begin, &Extent::begin);
        if (extent == extents.end() || extent->segment != segment) {
            continue;  // Truncated in between.
        }
        record.resize(kRecordHeaderBytes + extent->payload_bytes);
        MS_TRY(const auto got, segment->file->read_at(extent->offset, record));
        auto header = decode_record_header(record);
        const auto payload = Bytes(record).subspan(kRecordHeaderBytes);
        if (!header || got != record.size() || crc32c(payload) != header->payload_crc) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("{}: the record at offset {} cannot be read back",
                                     segment->path,
                                     extent->offset));
        }
        const auto size = record_bytes(payload.size());
        MS_TRY_VOID(ensure_room_locked(size, Purpose::kBookkeeping));
        const auto offset = active_->used_bytes;
        const Bytes pieces[] = {payload};
        last = append_record_locked({.kind = WalRecordKind::kBatch,
                                     .queue = id,
                                     .position = begin,
                                     .rows = header->rows,
                                     .payload_crc = header->payload_crc},
                                    pieces);
        segment->live_bytes -= size;
        active_->live_bytes += size;
        extent->segment = active_;
        extent->offset = offset;
        rewritten_total_.add(static_cast<double>(size));
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
        replay_stats_.quarantined_segments.push_back(path);
        log_warn("a damaged log segment was moved to quarantine", {{"path", path}});
    } else {
        MS_PASS_FAILPOINT(wal_before_unlink);
        MS_TRY_VOID(unless_gone(fs_.remove(segment.path)));
    }
    MS_PASS_FAILPOINT(wal_after_unlink);
    return fs_.sync_directory(directory_);
}

void WalLog::rebuild_reserve() {
    {
        const MutexLock lock(mutex_);
        if (has_reserve_ || options_.reserve_bytes == 0) {
            return;
        }
        has_reserve_ = true;
    }
    const auto path = join_path(directory_, std::string(kReserve));
    const auto make = [&]() -> Result<> {
        MS_TRY(const auto file, fs_.open(path, OpenMode::kCreateNew));
        MS_TRY_VOID(file->allocate(options_.reserve_bytes));
        return file->close();
    };
    if (!make()) {
        (void)fs_.remove(path);
        const MutexLock lock(mutex_);
        has_reserve_ = false;  // Tried again when a segment goes.
    }
}

void WalLog::make_spare() {
    std::uint64_t number = 0;
    {
        const MutexLock lock(mutex_);
        if (making_spare_ || spare_ != nullptr || closed_ ||
            !check_budget_locked(options_.segment_bytes)) {
            return;
        }
        making_spare_ = true;
        number = next_number_++;
    }
    auto made = make_segment_file(number, options_.segment_bytes);
    const MutexLock lock(mutex_);
    making_spare_ = false;
    if (!made) {
        return;  // The next append that needs a segment meets the error itself.
    }
    if (active_->number > number || closed_) {
        (void)fs_.remove((*made)->path);
        return;
    }
    spare_ = std::move(*made);
}

void WalLog::drop_spare_locked() {
    if (spare_ != nullptr) {
        (void)spare_->file->close();
        (void)fs_.remove(spare_->path);
        spare_ = nullptr;
    }
}

void WalLog::move_records_locked(std::deque<Chunk>& chunks,
                                 const std::shared_ptr<Segment>& to,
                                 Chunk& moved) {
    for (auto& chunk : chunks) {
        const auto skip = chunk.offset == 0 ? kSegmentHeaderBytes : 0;
        const auto old_begin = chunk.offset + skip;
        const auto old_end = chunk.offset + chunk.bytes.size();
        const auto new_begin = moved.offset + moved.bytes.size();
        append_bytes(moved.bytes, Bytes(chunk.bytes).subspan(skip));
        moved.last_lsn = std::max(moved.last_lsn, chunk.last_lsn);
        moved.records += chunk.records;
        for (auto& [id, queue] : queues_) {
            for (auto& extent : queue.extents) {
                if (extent.segment == chunk.segment && extent.offset >= old_begin &&
                    extent.offset < old_end) {
                    const auto size = record_bytes(extent.payload_bytes);
                    chunk.segment->live_bytes -= size;
                    to->live_bytes += size;
                    extent.segment = to;
                    extent.offset = new_begin + (extent.offset - old_begin);
                }
            }
        }
    }
}

Result<> WalLog::mend(std::deque<Chunk>& failed, const Error& cause) {
    log_error("writing the log failed; what is not durable goes to a new segment",
              {{"segment", failed.empty() ? std::string() : failed.back().segment->path},
               {"error", cause.message()}});
    {
        const MutexLock lock(mutex_);
        // What was appended meanwhile points at the failed segment too.
        for (auto& waiting : pending_) {
            failed.push_back(std::move(waiting));
        }
        pending_.clear();
        drop_spare_locked();
        std::uint64_t bytes =
            kSegmentHeaderBytes + record_bytes(encode_checkpoint(queue_table_locked()).size());
        for (const auto& lost : failed) {
            bytes += lost.bytes.size();
        }
        MS_TRY(const auto to,
               make_bookkeeping_segment_locked(std::max(options_.segment_bytes, bytes)));
        to->first_lsn = durable_lsn_;
        to->first_lsn.value += 1;
        Chunk moved{.segment = to,
                    .offset = 0,
                    .bytes = ByteBuffer(kSegmentHeaderBytes),
                    .last_lsn = {},
                    .records = 0};
        encode_segment_header({.log_id = log_id_,
                               .number = to->number,
                               .first_lsn = to->first_lsn,
                               .epoch = epoch_,
                               .accepted_lsn = accepted_lsn_,
                               .run_first_lsn = run_first_lsn_},
                              moved.bytes);
        move_records_locked(failed, to, moved);
        to->used_bytes = moved.bytes.size();
        segments_.push_back(to);
        active_ = to;
        pending_.push_back(std::move(moved));
        // Older segments may go once this one is there: it needs the queue table,
        // too.
        const auto table = encode_checkpoint(queue_table_locked());
        const Bytes payload[] = {table};
        append_record_locked({.kind = WalRecordKind::kCheckpoint, .payload_crc = crc32c(table)},
                             payload);
        failed.clear();
        failed.swap(pending_);
    }
    return write_and_sync(failed, {}, true);
}

Result<> WalLog::close(const RequestContext& context) {
    (void)context;
    const MutexLock lock(mutex_);
    MS_ASSERT(!closed_);
    auto done = wait_locked(Lsn{next_lsn_.value - 1}, true);
    closed_ = true;
    drop_spare_locked();
    for (const auto& segment : segments_) {
        if (auto closed = segment->file->close(); !closed && done) {
            done = std::move(closed);
        }
    }
    return done;
}

}  // namespace molesignal
