// After failed writes; what is to be done when nothing happens; closing.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "wal/wal_log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_before_mend);
MS_DEFINE_FAILPOINT(wal_mend_moved);
MS_DEFINE_FAILPOINT(wal_mended);
MS_DEFINE_FAILPOINT(wal_read_only);
MS_DEFINE_FAILPOINT(wal_before_mark);
MS_DEFINE_FAILPOINT(wal_before_close);
MS_DEFINE_FAILPOINT(wal_closed);

/// Between two tries to go on without space: every writer would try otherwise.
constexpr std::chrono::milliseconds kMendRetry{200};
/// A log without appends for this long says that its end is durable.
constexpr std::chrono::seconds kIdle{1};

}  // namespace

Error WalLog::failed_locked(std::deque<Chunk>& chunks, Error failure) {
    auto error = refusal_locked(std::move(failure));
    if (error.code() == ErrorCode::kResourceExhausted) {
        mend_error_ = error;
        mend_retry_at_ = clock_.steady_now() + kMendRetry;
        pending_.insert(pending_.begin(),
                        std::make_move_iterator(chunks.begin()),
                        std::make_move_iterator(chunks.end()));
        return error;
    }
    read_only_ = true;
    read_only_gauge_.set(1);
    (void)wal_read_only.pass();
    log_error("the write-ahead log is read-only: nothing more is acknowledged",
              {{"error", error.message()}});
    return error;
}

void WalLog::move_records_locked(std::deque<Chunk>& chunks,
                                 const SegmentPointer& to,
                                 Chunk& moved) {
    struct Move {
        SegmentPointer from;
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        std::uint64_t to = 0;
    };
    std::vector<Move> moves;
    for (auto& chunk : chunks) {
        const auto skip = chunk.offset == 0 ? kSegmentHeaderBytes : 0;
        moves.push_back({.from = chunk.segment,
                         .begin = chunk.offset + skip,
                         .end = chunk.offset + chunk.bytes.size(),
                         .to = moved.offset + moved.bytes.size()});
        append_bytes(moved.bytes, Bytes(chunk.bytes).subspan(skip));
        moved.last_lsn = std::max(moved.last_lsn, chunk.last_lsn);
        moved.records += chunk.records;
    }
    // Chunks are in the order of the log: ascending by segment and offset.
    const auto before = [](const Move& move, const WalExtent& extent) {
        return std::pair(move.from->number, move.end) <= std::pair(extent.segment, extent.offset);
    };
    for (auto& [id, queue] : queues_) {
        for (auto& extent : queue.extents) {
            const auto move = std::lower_bound(moves.begin(), moves.end(), extent, before);
            if (move == moves.end() || move->from->number != extent.segment ||
                extent.offset < move->begin) {
                continue;
            }
            const auto size = record_bytes(extent.payload_bytes);
            move->from->drop_live(id, size);
            to->add_live(id, size);
            extent.segment = to->number;
            extent.offset = move->to + (extent.offset - move->begin);
        }
    }
}

Result<> WalLog::mend(std::deque<Chunk>& failed, const Error& cause) {
    MS_PASS_FAILPOINT(wal_before_mend);
    {
        const MutexLock lock(mutex_);
        if (!mend_error_.has_value()) {
            log_error("writing the log failed; what is not durable goes to a new segment",
                      {{"segment", failed.empty() ? std::string() : failed.back().segment->path},
                       {"error", cause.message()}});
        }
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
               make_bookkeeping_segment_locked(std::max(options_.segment_bytes, bytes), bytes));
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
        segments_.push_back(to);
        move_records_locked(failed, to, moved);
        to->used_bytes = moved.bytes.size();
        full_.push_back(std::exchange(active_, to));
        pending_.push_back(std::move(moved));
        // Older segments may go once this one is there: it needs the queue table,
        // too.
        append_queue_table_locked();
        failed.clear();
        failed.swap(pending_);
    }
    MS_PASS_FAILPOINT(wal_mend_moved);
    MS_TRY_VOID(write_and_sync(failed, {}, true));
    MS_PASS_FAILPOINT(wal_mended);
    return {};
}

Result<> WalLog::write_mark_locked() {
    MS_PASS_FAILPOINT(wal_before_mark);
    MS_TRY(const auto lsn, append_bookkeeping_locked({.kind = WalRecordKind::kMark}, {}));
    return wait_locked(lsn, true);
}

void WalLog::maintain() {
    {
        const MutexLock lock(mutex_);
        if (closed_ || read_only_) {
            return;
        }
        if (mend_error_.has_value()) {
            (void)wait_locked(Lsn{next_lsn_.value - 1}, false);
        }
        const bool idle = !syncing_ && pending_.empty() && synced_lsn_ >= last_data_lsn_ &&
                          clock_.steady_now() >= last_append_at_ + kIdle;
        if (idle && named_lsn_ < last_data_lsn_) {
            if (auto marked = write_mark_locked(); !marked) {
                log_warn("the log could not note that its end is durable",
                         {{"error", marked.error().message()}});
            }
        }
    }
    rebuild_reserve();
    const MutexLock lock(mutex_);
    const auto space = fs_.space(directory_);
    if (no_space_ && space && space->available_bytes >= options_.segment_bytes) {
        no_space_ = !check_space_locked(options_.segment_bytes);  // Though nobody may write now.
    }
}

Result<> WalLog::close(const RequestContext& context) {
    (void)context;
    MS_PASS_FAILPOINT(wal_before_close);
    if (aside_ != nullptr) {
        aside_->stop();  // Nothing touches the directory once its lock is gone.
    }
    {
        const MutexLock lock(mutex_);
        MS_ASSERT(!closed_);
        auto done = wait_locked(Lsn{next_lsn_.value - 1}, true);
        if (done && named_lsn_ < last_data_lsn_) {
            if (auto marked = write_mark_locked(); !marked) {
                log_warn("the log could not note that its end is durable",
                         {{"error", marked.error().message()}});
            }
        }
        closed_ = true;
        drop_spare_locked();
        for (const auto& segment : segments_) {
            if (segment->file == nullptr) {
                continue;
            }
            if (auto closed = segment->file->close(); !closed && done) {
                done = std::move(closed);
            }
        }
        lock_.reset();
        MS_TRY_VOID(done);
    }
    MS_PASS_FAILPOINT(wal_closed);
    return {};
}

}  // namespace molesignal
