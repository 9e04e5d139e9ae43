// Append, commit, rotate.
#include "wal/wal_log.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_before_append);
MS_DEFINE_FAILPOINT(wal_before_write);
MS_DEFINE_FAILPOINT(wal_after_write);
MS_DEFINE_FAILPOINT(wal_before_sync);
MS_DEFINE_FAILPOINT(wal_after_sync);
MS_DEFINE_FAILPOINT(wal_queue_appended);
MS_DEFINE_FAILPOINT(wal_queue_created);

/// A chunk of the write buffer; larger records make larger chunks.
constexpr std::size_t kChunkBytes = 1U << 20U;
constexpr std::size_t kFreeBuffersMax = 4;
/// Above this, whoever appends waits for the disk.
constexpr std::uint64_t kPendingBytesMax = 64U << 20U;

}  // namespace

WalLog::WalLog(std::string directory,
               const WalOptions& options,
               FileSystem& fs,
               Clock& clock,
               MetricRegistry& metrics)
    : directory_(std::move(directory)),
      options_(options),
      fs_(fs),
      clock_(clock),
      bytes_total_(metrics.counter("wal_appended_bytes_total",
                                   "Bytes appended to the log, headers included")),
      records_total_(metrics.counter("wal_appended_records_total", "Records appended to the log")),
      syncs_total_(metrics.counter("wal_fsync_total", "Syncs of log segments")),
      sync_errors_(metrics.counter("wal_fsync_errors_total",
                                   "Writes and syncs of the log that failed",
                                   {{"kind", "segment"}})),
      rewritten_total_(
          metrics.counter("wal_rewritten_bytes_total", "Bytes of old segments appended again")),
      damaged_total_(metrics.counter("wal_damaged_records_total",
                                     "Durable records of the log that could not be read back")),
      sync_seconds_(metrics.histogram("wal_fsync_duration_seconds",
                                      "Time of writing and syncing one group of records",
                                      MetricRegistry::latency_buckets())),
      lock_seconds_(metrics.histogram("wal_append_lock_wait_seconds",
                                      "Time that an append waits for the log",
                                      MetricRegistry::latency_buckets())),
      inflight_gauge_(metrics.gauge("wal_append_inflight", "Appends waiting for the log")),
      read_only_gauge_(
          metrics.gauge("wal_read_only", "1 after a failed write that could not be mended")),
      quarantined_gauge_(
          metrics.gauge("wal_quarantined_segments", "Damaged segments that were set aside")),
      aside_(options.prepares_aside
                 ? std::make_unique<ThreadPool>(ThreadPool::Options{.name = "wal-segments"})
                 : nullptr) {}

WalLog::~WalLog() = default;

std::vector<WalQueue> WalLog::queues() const {
    const MutexLock lock(mutex_);
    std::vector<WalQueue> queues;
    for (const auto& [id, queue] : queues_) {
        queues.push_back({.queue = id,
                          .description = queue.description,
                          .truncated = queue.truncated,
                          .next = queue.next});
    }
    return queues;
}

Lsn WalLog::durable_lsn() const {
    const MutexLock lock(mutex_);
    return durable_lsn_;
}

WalStats WalLog::stats() const {
    const MutexLock lock(mutex_);
    return {.segments = segments_.size(),
            .bytes = bytes_on_disk_locked(),
            .live_bytes = live_bytes_locked(),
            .appended_records = appended_records_,
            .appended_bytes = appended_bytes_,
            .syncs = syncs_,
            .next_lsn = next_lsn_,
            .durable_lsn = durable_lsn_,
            .read_only = read_only_,
            .out_of_space = no_space_ || mend_error_.has_value(),
            .has_reserve = has_reserve_,
            .problem = problem_};
}

WalReplayStats WalLog::replay_stats() const {
    const MutexLock lock(mutex_);
    return replay_stats_;
}

void WalLog::Segment::drop_live(QueueId queue, std::uint64_t bytes) {
    const auto found = live.find(queue);
    MS_ASSERT(found != live.end() && found->second >= bytes);
    live_bytes -= bytes;
    found->second -= bytes;
    if (found->second == 0) {
        live.erase(found);
    }
}

Lsn WalLog::append_record_locked(WalRecordHeader header, std::span<const Bytes> payload) {
    std::uint64_t payload_bytes = 0;
    for (const auto piece : payload) {
        payload_bytes += piece.size();
    }
    const auto size = record_bytes(payload_bytes);
    MS_ASSERT(active_->used_bytes + size <= active_->file_bytes);
    header.payload_bytes = static_cast<std::uint32_t>(payload_bytes);
    header.epoch = epoch_;
    header.lsn = next_lsn_;
    header.durable_lsn = synced_lsn_;
    next_lsn_.value += 1;
    named_lsn_ = std::max(named_lsn_, synced_lsn_);
    if (header.kind != WalRecordKind::kMark) {
        last_data_lsn_ = header.lsn;
        last_append_at_ = clock_.steady_now();
    }

    const bool join = !pending_.empty() && pending_.back().segment == active_ &&
                      options_.flush_strategy != WalFlushStrategy::kEveryWrite &&
                      pending_.back().bytes.size() + size <=
                          std::max(kChunkBytes, pending_.back().bytes.capacity());
    if (!join) {
        Chunk chunk{.segment = active_,
                    .offset = active_->used_bytes,
                    .bytes = {},
                    .last_lsn = {},
                    .records = 0};
        if (!free_buffers_.empty()) {
            chunk.bytes = std::move(free_buffers_.back());
            free_buffers_.pop_back();
            chunk.bytes.clear();
        }
        pending_.push_back(std::move(chunk));
    }
    auto& chunk = pending_.back();
    const auto at = chunk.bytes.size();
    chunk.bytes.resize(at + kRecordHeaderBytes);
    encode_record_header(header, MutableBytes(chunk.bytes).subspan(at, kRecordHeaderBytes));
    for (const auto piece : payload) {
        append_bytes(chunk.bytes, piece);
    }
    chunk.bytes.resize(at + size);
    chunk.last_lsn = header.lsn;
    ++chunk.records;
    active_->used_bytes += size;
    ++appended_records_;
    appended_bytes_ += size;
    return header.lsn;
}

Result<Lsn> WalLog::append_bookkeeping_locked(WalRecordHeader header, Bytes payload) {
    MS_TRY_VOID(check_writable_locked());
    MS_TRY_VOID(ensure_room_locked(record_bytes(payload.size()), Purpose::kBookkeeping));
    header.payload_crc = crc32c(payload);
    const Bytes pieces[] = {payload};
    return append_record_locked(header, pieces);
}

Result<Lsn> WalLog::append(QueueId id,
                           Position begin,
                           std::uint32_t rows,
                           std::span<const Bytes> payload) {
    MS_PASS_FAILPOINT(wal_before_append);
    // The checksum is taken before the lock: it is the larger part of the work.
    std::uint64_t payload_bytes = 0;
    std::uint32_t crc = 0;
    for (const auto piece : payload) {
        payload_bytes += piece.size();
        crc = crc32c(piece, crc);
    }
    const auto size = record_bytes(payload_bytes);
    if (size > options_.record_bytes_max) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("a batch of {} encoded bytes exceeds the limit of {} for one "
                                 "record of the log; send "
                                 "smaller requests (http.body_bytes_max)",
                                 size,
                                 options_.record_bytes_max));
    }
    const WalRecordHeader header{.kind = WalRecordKind::kBatch,
                                 .payload_bytes = static_cast<std::uint32_t>(payload_bytes),
                                 .queue = id,
                                 .position = begin,
                                 .rows = rows,
                                 .payload_crc = crc};
    inflight_gauge_.add(1);
    const auto asked = clock_.steady_now();
    {
        const MutexLock lock(mutex_);
        inflight_gauge_.add(-1);
        lock_seconds_.observe(static_cast<double>(clock_.steady_now().value - asked.value) * 1e-9);
        auto lsn = append_rows_locked(header, payload);
        if (lsn || lsn.error().code() != ErrorCode::kResourceExhausted ||
            segments_.front() == active_ || segments_.front()->live_bytes > 0) {
            return lsn;
        }
    }
    // The oldest segment was in use when its last row went, and nothing was truncated since.
    (void)collect_garbage();
    const MutexLock lock(mutex_);
    return append_rows_locked(header, payload);
}

Result<Lsn> WalLog::append_rows_locked(const WalRecordHeader& header,
                                       std::span<const Bytes> payload) {
    MS_TRY_VOID(check_writable_locked());
    while (mend_error_.has_value()) {
        // Without space: goes on by itself once there is some.
        MS_TRY_VOID(wait_locked(Lsn{next_lsn_.value - 1}, false));
    }
    if (pending_bytes_locked() > kPendingBytesMax) {
        MS_TRY_VOID(wait_locked(Lsn{next_lsn_.value - 1}, false));
    }
    const auto size = record_bytes(header.payload_bytes);
    while (making_spare_ && active_->used_bytes + size > active_->file_bytes) {
        spare_made_.wait(mutex_);  // A second one would be made in vain.
    }
    MS_TRY_VOID(check_writable_locked());
    const auto found = queues_.find(header.queue);
    if (found == queues_.end()) {
        return Error(ErrorCode::kNotFound,
                     fmt::format("the log has no queue {}", header.queue.value));
    }
    auto& queue = found->second;
    if (queue.next != header.position) {
        return Error(ErrorCode::kInternal,
                     fmt::format("queue {} is at position {}, a batch begins at {}",
                                 header.queue.value,
                                 queue.next.value,
                                 header.position.value));
    }
    MS_TRY_VOID(ensure_room_locked(size, Purpose::kRows));
    no_space_ = false;
    const auto offset = active_->used_bytes;
    const auto lsn = append_record_locked(header, payload);
    queue.next = Position{header.position.value + header.rows};
    queue.extents.push_back({.begin = header.position,
                             .rows = header.rows,
                             .payload_bytes = header.payload_bytes,
                             .segment = active_->number,
                             .offset = offset,
                             .lsn = lsn});
    active_->add_live(header.queue, size);
    return lsn;
}

Result<> WalLog::check_writable() {
    const MutexLock lock(mutex_);
    MS_TRY_VOID(check_writable_locked());
    while (mend_error_.has_value()) {
        MS_TRY_VOID(wait_locked(Lsn{next_lsn_.value - 1}, false));
    }
    return {};
}

Result<> WalLog::create_queue(const RequestContext& context, QueueId queue, Bytes description) {
    Lsn lsn;
    {
        const MutexLock lock(mutex_);
        if (queues_.contains(queue)) {
            return Error(ErrorCode::kConflict,
                         fmt::format("the log has a queue {} already", queue.value));
        }
        MS_TRY(lsn,
               append_bookkeeping_locked({.kind = WalRecordKind::kQueueCreated, .queue = queue},
                                         description));
        queues_[queue].description.assign(description.begin(), description.end());
    }
    const auto finish = [&]() -> Result<> {
        MS_PASS_FAILPOINT(wal_queue_appended);
        MS_TRY_VOID(commit(context, lsn));
        MS_PASS_FAILPOINT(wal_queue_created);
        return {};
    };
    auto done = finish();
    if (!done) {
        // The record may turn durable all the same; a deletion behind it makes it mean nothing.
        const MutexLock lock(mutex_);
        (void)append_bookkeeping_locked({.kind = WalRecordKind::kQueueDeleted, .queue = queue}, {});
        drop_queue_locked(queue);
    }
    return done;
}

void WalLog::drop_queue_locked(QueueId id) {
    const auto found = queues_.find(id);
    if (found == queues_.end()) {
        return;
    }
    for (const auto& extent : found->second.extents) {
        find_segment_locked(extent.segment)->drop_live(id, record_bytes(extent.payload_bytes));
    }
    queues_.erase(found);
}

Result<> WalLog::write_and_sync(std::deque<Chunk>& chunks, const SegmentList& earlier, bool sync) {
    MS_PASS_FAILPOINT(wal_before_write);
    for (const auto& chunk : chunks) {
        MS_TRY_VOID(chunk.segment->file->write_at(chunk.offset, chunk.bytes));
    }
    MS_PASS_FAILPOINT(wal_after_write);
    if (!sync) {
        return {};
    }
    MS_PASS_FAILPOINT(wal_before_sync);
    // In the order of the log: a durable record is never behind one that is not.
    auto segments = earlier;
    for (const auto& chunk : chunks) {
        if (segments.empty() || segments.back() != chunk.segment) {
            segments.push_back(chunk.segment);
        }
    }
    for (const auto& segment : segments) {
        if (segment->file == nullptr) {
            MS_TRY(segment->file, fs_.open(segment->path, OpenMode::kReadWrite));
        }
        MS_TRY_VOID(segment->file->sync());
    }
    MS_PASS_FAILPOINT(wal_after_sync);
    return {};
}

Result<> WalLog::check_writable_locked() const {
    if (read_only_) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("the write-ahead log is read-only after a failed write ({}); rows "
                                 "are taken again after a restart",
                                 problem_));
    }
    return {};
}

Error WalLog::refusal_locked(Error error) {
    problem_ = error.message();
    return error.code() == ErrorCode::kResourceExhausted
               ? std::move(error)
               : Error(ErrorCode::kUnavailable, problem_, error.where());
}

std::uint64_t WalLog::pending_bytes_locked() const {
    std::uint64_t bytes = 0;
    for (const auto& chunk : pending_) {
        bytes += chunk.bytes.size();
    }
    return bytes;
}

Result<> WalLog::wait_locked(Lsn lsn, bool synced) {
    MS_ASSERT(lsn < next_lsn_);
    while ((synced ? synced_lsn_ : durable_lsn_) < lsn) {
        MS_TRY_VOID(check_writable_locked());
        if (syncing_) {
            synced_.wait(mutex_);
            continue;
        }
        MS_TRY_VOID(lead_locked(synced));
    }
    return {};
}

Result<> WalLog::lead_locked(bool synced) {
    if (mend_error_.has_value() && clock_.steady_now() < mend_retry_at_) {
        return *mend_error_;
    }
    syncing_ = true;
    const bool sync = synced || options_.flush_strategy != WalFlushStrategy::kNone;
    std::deque<Chunk> chunks;
    const auto mend_first = mend_error_;
    if (options_.flush_strategy == WalFlushStrategy::kEveryWrite && !mend_first.has_value() &&
        !pending_.empty()) {
        // One record a sync; a segment's header goes with the record behind it.
        do {
            chunks.push_back(std::move(pending_.front()));
            pending_.pop_front();
        } while (chunks.back().records == 0 && !pending_.empty());
    } else {
        chunks.swap(pending_);
    }
    SegmentList earlier;
    if (sync) {
        std::ranges::copy_if(segments_, std::back_inserter(earlier), &Segment::unsynced);
    }
    mutex_.unlock();
    const auto started = clock_.steady_now();
    auto done =
        mend_first.has_value() ? Result<>(*mend_first) : write_and_sync(chunks, earlier, sync);
    if (!done) {
        sync_errors_.add();
        const auto cause = std::move(done).error();
        // What was written without a sync is not in memory any more: it cannot be
        // moved.
        done = earlier.empty() ? mend(chunks, cause) : Result<>(cause);
    }
    sync_seconds_.observe(static_cast<double>(clock_.steady_now().value - started.value) * 1e-9);
    mutex_.lock();
    syncing_ = false;
    synced_.notify_all();
    if (!done) {
        return failed_locked(chunks, std::move(done).error());
    }
    published_locked(chunks, earlier, sync);
    return {};
}

void WalLog::published_locked(std::deque<Chunk>& chunks, const SegmentList& earlier, bool sync) {
    mend_error_.reset();
    problem_.clear();
    for (const auto& segment : earlier) {
        segment->unsynced = false;
        if (segment != active_) {
            full_.push_back(segment);
        }
    }
    for (auto& chunk : chunks) {
        records_total_.add(static_cast<double>(chunk.records));
        bytes_total_.add(static_cast<double>(chunk.bytes.size()));
        durable_lsn_ = std::max(durable_lsn_, chunk.last_lsn);
        chunk.segment->unsynced = !sync;
        if (free_buffers_.size() < kFreeBuffersMax && chunk.bytes.capacity() <= 4 * kChunkBytes) {
            free_buffers_.push_back(std::move(chunk.bytes));
        }
    }
    if (sync) {
        synced_lsn_ = durable_lsn_;
        ++syncs_;
        syncs_total_.add();
    }
    seal_locked();
}

Result<> WalLog::commit(const RequestContext& context, Lsn lsn) {
    (void)context;  // Once records are on their way, the caller waits for the
                    // outcome.
    {
        const MutexLock lock(mutex_);
        MS_TRY_VOID(wait_locked(lsn, false));
        if (spare_ != nullptr || spare_asked_ || active_->used_bytes * 2 <= active_->file_bytes ||
            clock_.steady_now() < spare_retry_at_) {
            return {};
        }
        spare_asked_ = aside_ != nullptr;
    }
    prepare_spare();
    return {};
}

}  // namespace molesignal
