// Segments: making them, preparing the next one, giving back descriptors; the reserve.
#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "wal/wal_log.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(wal_before_rotate);
MS_DEFINE_FAILPOINT(wal_segment_allocated);
MS_DEFINE_FAILPOINT(wal_segment_created);
MS_DEFINE_FAILPOINT(wal_spare_created);
MS_DEFINE_FAILPOINT(wal_reserve_released);
MS_DEFINE_FAILPOINT(wal_reserve_rebuilt);

constexpr std::string_view kReserve = "reserve";
constexpr std::chrono::seconds kSpareRetry{1};
/// What a segment that is made of the last free bytes has beyond what is needed at once.
constexpr std::uint64_t kSlackBytes = 64U << 10U;

}  // namespace

std::uint64_t WalLog::bytes_on_disk_locked() const {
    std::uint64_t bytes = spare_ != nullptr ? spare_->file_bytes : 0;
    for (const auto& segment : segments_) {
        bytes += segment->file_bytes;
    }
    return bytes;
}

std::uint64_t WalLog::live_bytes_locked() const {
    std::uint64_t bytes = 0;
    for (const auto& segment : segments_) {
        bytes += segment->live_bytes;
    }
    return bytes;
}

WalLog::SegmentPointer WalLog::find_segment_locked(std::uint64_t number) const {
    const auto found = std::ranges::lower_bound(
        segments_, number, {}, [](const auto& segment) { return segment->number; });
    MS_ASSERT(found != segments_.end() && (*found)->number == number);
    return *found;
}

std::vector<WalCheckpointQueue> WalLog::queue_table_locked() const {
    std::vector<WalCheckpointQueue> table;
    table.reserve(queues_.size());
    for (const auto& [id, queue] : queues_) {
        table.push_back({.queue = id,
                         .truncated = queue.truncated,
                         .next = queue.next,
                         .description = queue.description});
    }
    return table;
}

Result<WalLog::SegmentPointer> WalLog::make_segment_file(std::uint64_t number,
                                                         std::uint64_t bytes) {
    auto segment = std::make_shared<Segment>();
    segment->number = number;
    segment->path = join_path(directory_, segment_file_name(number));
    segment->file_bytes = bytes;
    auto opened = fs_.open(segment->path, OpenMode::kCreateNew);
    if (!opened) {
        return std::move(opened).error().wrap("create log segment");
    }
    segment->file = std::move(*opened);
    const auto prepare = [&]() -> Result<> {
        MS_TRY_VOID(segment->file->allocate(bytes));
        MS_PASS_FAILPOINT(wal_segment_allocated);
        // The size and the name are durable before the first record goes in: later
        // syncs need no metadata.
        MS_TRY_VOID(segment->file->sync());
        return fs_.sync_directory(directory_);
    };
    if (auto prepared = prepare(); !prepared) {
        (void)segment->file->close();
        (void)fs_.remove(segment->path);
        return std::move(prepared).error().wrap("create log segment");
    }
    MS_PASS_FAILPOINT(wal_segment_created);
    return segment;
}

Result<> WalLog::check_budget_locked(std::uint64_t new_bytes) const {
    const auto used = bytes_on_disk_locked();
    if (used + new_bytes > options_.total_bytes_max) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("the write-ahead log has {} bytes and the limit "
                                 "is {} (wal.total_mb): rows are not "
                                 "flushed fast enough, see /healthz; retry later",
                                 used,
                                 options_.total_bytes_max));
    }
    return {};
}

// What the reserve has freed is for truncates, flushes and the catalogue, not for new rows.
Result<> WalLog::check_space_locked(std::uint64_t new_bytes) {
    if (options_.reserve_bytes == 0 || has_reserve_ || making_reserve_) {
        return {};
    }
    const auto space = fs_.space(directory_);
    const auto wanted = new_bytes + options_.reserve_bytes;
    if (!space || space->available_bytes >= wanted) {
        return {};
    }
    return Error(ErrorCode::kResourceExhausted,
                 fmt::format("the disk of the write-ahead log has {} bytes free; rows are taken "
                             "again when it has {} (a segment and wal.reserve_mb); retry later",
                             space->available_bytes,
                             wanted));
}

Result<> WalLog::ensure_room_locked(std::uint64_t bytes, Purpose purpose) {
    if (active_ != nullptr && active_->used_bytes + bytes <= active_->file_bytes) {
        return {};
    }
    MS_PASS_FAILPOINT(wal_before_rotate);
    // The queue table heads the new segment; a record larger than a segment gets
    // one of its own size.
    const auto table = record_bytes(encode_checkpoint(queue_table_locked()).size());
    const auto needed = kSegmentHeaderBytes + table + bytes;
    const auto wanted = std::max(options_.segment_bytes, needed);
    if (spare_ != nullptr && spare_->file_bytes >= wanted) {
        activate_locked(std::move(spare_));
        spare_ = nullptr;
        return {};
    }
    drop_spare_locked();  // Too small; numbers must grow with the order of use.
    if (purpose == Purpose::kRows) {
        MS_TRY_VOID(check_budget_locked(wanted));
        if (auto roomy = check_space_locked(wanted); !roomy) {
            no_space_ = true;
            return roomy;
        }
    }
    auto made = purpose == Purpose::kBookkeeping ? make_bookkeeping_segment_locked(wanted, needed)
                                                 : make_segment_file(next_number_++, wanted);
    no_space_ = !made && made.error().code() == ErrorCode::kResourceExhausted;
    if (!made) {
        return refusal_locked(std::move(made).error());
    }
    activate_locked(std::move(*made));
    return {};
}

Result<WalLog::SegmentPointer> WalLog::make_bookkeeping_segment_locked(std::uint64_t bytes,
                                                                       std::uint64_t bytes_min) {
    const auto full = [](const auto& made) {
        return !made && made.error().code() == ErrorCode::kResourceExhausted;
    };
    auto made = make_segment_file(next_number_++, bytes);
    if (full(made) && release_reserve_locked(bytes)) {
        made = make_segment_file(next_number_++, bytes);
    }
    // Truncates and rewrites free space in the end: they get by with little.
    if (const auto small = std::min(bytes, bytes_min + kSlackBytes); full(made) && small < bytes) {
        made = make_segment_file(next_number_++, small);
    }
    return made;
}

void WalLog::activate_locked(SegmentPointer segment) {
    segment->first_lsn = next_lsn_;
    ByteBuffer header(kSegmentHeaderBytes);
    encode_segment_header({.log_id = log_id_,
                           .number = segment->number,
                           .first_lsn = next_lsn_,
                           .epoch = epoch_,
                           .accepted_lsn = accepted_lsn_,
                           .run_first_lsn = run_first_lsn_},
                          header);
    segment->used_bytes = kSegmentHeaderBytes;
    segments_.push_back(segment);
    if (active_ != nullptr) {
        full_.push_back(active_);
    }
    active_ = segment;
    pending_.push_back({.segment = std::move(segment),
                        .offset = 0,
                        .bytes = std::move(header),
                        .last_lsn = {},
                        .records = 0});
    append_queue_table_locked();
}

void WalLog::append_queue_table_locked() {
    const auto table = encode_checkpoint(queue_table_locked());
    const Bytes payload[] = {table};
    // With the size of the file, so that a file which is cut short is no torn tail.
    append_record_locked({.kind = WalRecordKind::kCheckpoint,
                          .position = Position{active_->file_bytes},
                          .rows = static_cast<std::uint32_t>(active_->number),
                          .payload_crc = crc32c(table)},
                         payload);
}

/// Gives back the descriptors of segments that take no more records, once nothing waits to be
/// written to them: a log may have more segments than a process may have files.
void WalLog::seal_locked() {
    SegmentList waiting;
    for (const auto& chunk : pending_) {
        waiting.push_back(chunk.segment);
    }
    std::erase_if(full_, [&waiting](const SegmentPointer& segment) {
        if (std::ranges::find(waiting, segment) != waiting.end()) {
            return false;
        }
        segment->file.reset();  // What is in it was synced, or its sync failed for good.
        return true;
    });
}

void WalLog::prepare_spare() {
    if (aside_ == nullptr) {
        make_spare();
        return;
    }
    const auto asked = aside_->submit([this] {
        make_spare();
        const MutexLock lock(mutex_);
        spare_asked_ = false;
    });
    if (!asked) {
        const MutexLock lock(mutex_);
        spare_asked_ = false;
        spare_retry_at_ = clock_.steady_now() + kSpareRetry;
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
        if (!check_space_locked(options_.segment_bytes)) {
            spare_retry_at_ = clock_.steady_now() + kSpareRetry;
            return;
        }
        making_spare_ = true;
        number = next_number_++;
    }
    auto made = make_segment_file(number, options_.segment_bytes);
    (void)wal_spare_created.pass();
    const MutexLock lock(mutex_);
    making_spare_ = false;
    spare_made_.notify_all();
    if (!made) {
        // The next append that needs a segment meets the error itself.
        spare_retry_at_ = clock_.steady_now() + kSpareRetry;
        return;
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

bool WalLog::release_reserve() {
    const MutexLock lock(mutex_);
    return release_reserve_locked(options_.reserve_bytes);
}

/// Only if it is space that is missing: a lack of descriptors or inodes says kResourceExhausted
/// too.
bool WalLog::release_reserve_locked(std::uint64_t wanted) {
    if (!has_reserve_) {
        return false;
    }
    const auto space = fs_.space(directory_);
    if (space && space->available_bytes >= wanted) {
        return false;
    }
    if (const auto removed = fs_.remove(join_path(directory_, std::string(kReserve)));
        !removed && removed.error().code() != ErrorCode::kNotFound) {
        return false;
    }
    has_reserve_ = false;
    (void)wal_reserve_released.pass();
    log_warn("the disk of the write-ahead log is full: its reserve is freed, so that flushes go on",
             {{"bytes", options_.reserve_bytes}});
    return true;
}

void WalLog::check_reserve() {
    const auto path = join_path(directory_, std::string(kReserve));
    const auto size = [&]() -> Result<std::uint64_t> {
        MS_TRY(const auto file, fs_.open(path, OpenMode::kRead));
        return file->size();
    }();
    if (!size) {
        return;  // There is none, or it is made anew.
    }
    const bool whole = options_.reserve_bytes > 0 && *size == options_.reserve_bytes;
    if (!whole) {
        (void)fs_.remove(path);
    }
    const MutexLock lock(mutex_);
    has_reserve_ = whole;
}

/// Makes the reserve when the disk has room for it and for a segment: not before, or rows would be
/// refused by turns.
void WalLog::rebuild_reserve() {
    {
        const MutexLock lock(mutex_);
        if (has_reserve_ || making_reserve_ || closed_ || options_.reserve_bytes == 0) {
            return;
        }
        const auto space = fs_.space(directory_);
        if (space && space->available_bytes < options_.reserve_bytes + options_.segment_bytes) {
            return;
        }
        making_reserve_ = true;
    }
    const auto path = join_path(directory_, std::string(kReserve));
    const auto make = [&]() -> Result<> {
        MS_TRY(const auto file, fs_.open(path, OpenMode::kCreateNew));
        MS_TRY_VOID(file->allocate(options_.reserve_bytes));
        MS_PASS_FAILPOINT(wal_reserve_rebuilt);
        return file->close();
    };
    const auto made = make();
    if (!made) {
        (void)fs_.remove(path);
    }
    const MutexLock lock(mutex_);
    making_reserve_ = false;
    has_reserve_ = made.has_value();
}

}  // namespace molesignal
