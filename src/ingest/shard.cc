#include "ingest/shard.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

Shard::Shard(ShardInfo info,
             StreamInfo stream,
             Position begin,
             Intake intake,
             std::shared_ptr<MemoryBudget> memory,
             SteadyNanos now)
    : info_(std::move(info)),
      stream_(std::move(stream)),
      next_position_(begin),
      intake_(intake),
      active_(std::make_shared<Memtable>(info_.id, begin)),
      active_memory_(memory),
      frozen_memory_(memory),
      memory_(std::move(memory)),
      checkpoint_(info_.checkpoint),
      last_append_(now) {}

Result<std::optional<Shard::Appended>> Shard::append(Wal& wal,
                                                     std::shared_ptr<const RowBatch> batch,
                                                     std::span<const Bytes> payload,
                                                     std::uint64_t raw_bytes,
                                                     SteadyNanos now) {
    const auto rows = batch->rows();
    MemoryReservation memory(memory_);
    memory.force_resize(static_cast<std::int64_t>(batch->capacity_bytes()));
    const MutexLock order(append_order_);
    Position begin;
    {
        const MutexLock lock(mutex_);
        if (intake_ != Intake::kOpen) {
            return std::optional<Appended>();
        }
        appending_ = true;
        begin = next_position_;
    }
    auto lsn = wal.append(queue(), begin, rows, payload);
    const MutexLock lock(mutex_);
    appending_ = false;
    if (!lsn) {
        return std::move(lsn).error();
    }
    next_position_.value += rows;
    last_append_ = now;
    if (discarded_) {
        if (!flushing_) {
            drop_rows();  // Else the flush does it.
        }
    } else {
        pending_.push_back({.lsn = *lsn,
                            .batch = std::move(batch),
                            .raw_bytes = raw_bytes,
                            .memory = std::move(memory)});
    }
    return std::optional(Appended{.lsn = *lsn, .begin = begin, .end = next_position_});
}

void Shard::apply_durable(Lsn durable, SteadyNanos now) {
    const MutexLock lock(mutex_);
    bool applied = false;
    while (!pending_.empty() && pending_.front().lsn <= durable) {
        if (active_->empty()) {
            oldest_row_ = now;
        }
        active_->append(*pending_.front().batch, pending_.front().raw_bytes);
        pending_.pop_front();
        applied = true;
    }
    if (applied) {
        account();
    }
}

bool Shard::has_gap(Position begin) const {
    const MutexLock lock(mutex_);
    return begin > active_->end() && (!active_->empty() || frozen_ != nullptr);
}

std::uint64_t Shard::replay(const RowBatch& batch, Position begin, SteadyNanos now) {
    const MutexLock lock(mutex_);
    if (active_->empty()) {
        oldest_row_ = now;
        if (begin != active_->end()) {
            active_ = std::make_shared<Memtable>(info_.id, begin);
        }
    }
    MS_ASSERT(begin == active_->end());
    active_->append(batch, 0);
    next_position_ = active_->end();
    account();
    return active_->capacity_bytes();
}

void Shard::close_intake() {
    const MutexLock lock(mutex_);
    intake_ = Intake::kClosed;
}

bool Shard::is_open() const {
    const MutexLock lock(mutex_);
    return intake_ == Intake::kOpen;
}

void Shard::add_to_snapshot(HotSnapshot& snapshot) const {
    const MutexLock lock(mutex_);
    for (const auto* table : {frozen_.get(), static_cast<const Memtable*>(active_.get())}) {
        if (table == nullptr || table->empty()) {
            continue;
        }
        auto chunks = table->snapshot();
        snapshot.chunks.insert(snapshot.chunks.end(),
                               std::make_move_iterator(chunks.begin()),
                               std::make_move_iterator(chunks.end()));
        for (const auto& field : table->fields()) {
            const auto found = std::ranges::find_if(snapshot.fields, [&field](const auto& known) {
                return known.second == field.type && known.first == field.name;
            });
            const auto index = static_cast<std::size_t>(found - snapshot.fields.begin());
            if (found == snapshot.fields.end()) {
                snapshot.fields.emplace_back(field.name, field.type);
                snapshot.inexact_as_float.push_back(field.inexact_as_float);
            } else if (field.inexact_as_float) {
                snapshot.inexact_as_float[index] = true;
            }
        }
    }
}

std::optional<Position> Shard::visible_end() const {
    const MutexLock lock(mutex_);
    if (!active_->empty()) {
        return active_->end();
    }
    return frozen_ != nullptr ? std::optional(frozen_->end()) : std::nullopt;
}

std::shared_ptr<const Memtable> Shard::begin_flush() {
    const MutexLock lock(mutex_);
    if (flushing_) {
        return nullptr;
    }
    if (frozen_ == nullptr) {
        if (active_->empty()) {
            return nullptr;
        }
        frozen_ = active_;
        frozen_memory_ = std::move(active_memory_);
        active_memory_ = MemoryReservation(memory_);
        active_ = std::make_shared<Memtable>(info_.id, frozen_->end());
        attempt_ = FlushAttempt{};
    }
    flushing_ = true;
    return frozen_;
}

Position Shard::checkpoint() const {
    const MutexLock lock(mutex_);
    return checkpoint_;
}

void Shard::end_flush_committed(Position checkpoint) {
    const MutexLock lock(mutex_);
    MS_ASSERT(flushing_);
    flushing_ = false;
    frozen_ = nullptr;
    frozen_memory_.reset();
    attempt_ = FlushAttempt{};
    checkpoint_ = checkpoint;
    retry_at_ = SteadyNanos{};
    failures_ = 0;
    last_error_.clear();
    if (checkpoint_ >= flush_requested_) {
        flush_at_ = SteadyNanos::never();
    }
    if (discarded_) {
        drop_rows();
    }
    checkpoint_moved_.notify_all();
}

void Shard::end_flush_failed(const Error& error, SteadyNanos retry_at) {
    const MutexLock lock(mutex_);
    MS_ASSERT(flushing_);
    flushing_ = false;
    retry_at_ = retry_at;
    ++failures_;
    last_error_ = error.message();
    if (discarded_) {
        drop_rows();
    }
}

void Shard::retire_failed(const Error& error, SteadyNanos retry_at) {
    const MutexLock lock(mutex_);
    retry_at_ = retry_at;
    ++failures_;
    last_error_ = error.message();
}

void Shard::discard() {
    const MutexLock lock(mutex_);
    discarded_ = true;
    intake_ = Intake::kClosed;
    if (!flushing_) {
        drop_rows();
    }
}

void Shard::drop_rows() {
    pending_.clear();
    frozen_ = nullptr;
    frozen_memory_.reset();
    attempt_ = FlushAttempt{};
    active_ = std::make_shared<Memtable>(info_.id, next_position_);
    active_memory_.reset();
    checkpoint_ = next_position_;
    checkpoint_moved_.notify_all();
}

Result<> Shard::wait_for_checkpoint(const RequestContext& context,
                                    Clock& clock,
                                    Position position) {
    const MutexLock lock(mutex_);
    while (checkpoint_ < position) {
        MS_TRY_VOID(context.check());
        // Wakes now and then to notice a cancelled request.
        const auto soon = clock.steady_now() + std::chrono::milliseconds(200);
        clock.wait_until(mutex_, checkpoint_moved_, std::min(soon, context.deadline));
    }
    return {};
}

void Shard::request_flush(Position position, SteadyNanos at) {
    const MutexLock lock(mutex_);
    if (position > checkpoint_) {
        flush_requested_ = std::max(flush_requested_, position);
        flush_at_ = std::min(flush_at_, at);
    }
}

Shard::State Shard::state() const {
    const MutexLock lock(mutex_);
    State state;
    state.rows = active_->rows() + (frozen_ != nullptr ? frozen_->rows() : 0);
    state.active_bytes = active_->capacity_bytes();
    state.frozen_bytes = frozen_ != nullptr ? frozen_->capacity_bytes() : 0;
    state.pending_batches = pending_.size() + (appending_ ? 1 : 0);
    state.open = intake_ == Intake::kOpen;
    state.flushing = flushing_;
    state.discarded = discarded_;
    state.flush_at = frozen_ != nullptr ? SteadyNanos{} : flush_at_;
    state.retry_at = retry_at_;
    state.oldest_row = active_->empty() ? SteadyNanos::never() : oldest_row_;
    state.last_append = last_append_;
    state.failures = failures_;
    state.last_error = last_error_;
    return state;
}

void Shard::account() {
    active_memory_.force_resize(static_cast<std::int64_t>(active_->capacity_bytes()));
}

}  // namespace molesignal
