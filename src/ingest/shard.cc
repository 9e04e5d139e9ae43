#include "ingest/shard.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

Shard::Shard(ShardInfo info,
             StreamInfo stream,
             Position begin,
             Intake intake,
             std::shared_ptr<MemoryBudget> memory)
    : info_(std::move(info)),
      stream_(std::move(stream)),
      next_position_(begin),
      intake_(intake),
      active_(std::make_shared<Memtable>(info_.id, begin)),
      active_memory_(memory),
      frozen_memory_(memory),
      memory_(std::move(memory)),
      checkpoint_(info_.checkpoint) {}

Result<std::optional<Shard::Appended>> Shard::append(Wal& wal,
                                                     std::shared_ptr<const RowBatch> batch,
                                                     std::span<const Bytes> payload,
                                                     std::uint64_t raw_bytes,
                                                     SteadyNanos now) {
    const auto rows = batch->rows();
    const MutexLock lock(mutex_);
    if (intake_ != Intake::kOpen) {
        return std::optional<Appended>();
    }
    // Under the lock, so that positions and LSNs of a shard grow together.
    const auto begin = next_position_;
    MS_TRY(const auto lsn, wal.append(queue(), next_position_, rows, payload));
    next_position_.value += rows;
    last_append_ = now;
    pending_.push_back({.lsn = lsn, .batch = std::move(batch), .raw_bytes = raw_bytes});
    return std::optional(Appended{.lsn = lsn, .begin = begin, .end = next_position_});
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

void Shard::replay(const RowBatch& batch, Position begin, SteadyNanos now) {
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
    checkpoint_ = checkpoint;
    retry_at_ = SteadyNanos{};
    checkpoint_moved_.notify_all();
}

void Shard::end_flush_failed(SteadyNanos retry_at) {
    const MutexLock lock(mutex_);
    MS_ASSERT(flushing_);
    flushing_ = false;
    retry_at_ = retry_at;
}

bool Shard::discard() {
    const MutexLock lock(mutex_);
    if (flushing_) {
        return false;
    }
    intake_ = Intake::kClosed;
    pending_.clear();
    frozen_ = nullptr;
    frozen_memory_.reset();
    active_ = std::make_shared<Memtable>(info_.id, next_position_);
    active_memory_.reset();
    checkpoint_ = next_position_;
    checkpoint_moved_.notify_all();
    return true;
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

void Shard::request_flush(Position position) {
    const MutexLock lock(mutex_);
    flush_requested_ = std::max(flush_requested_, position);
}

Shard::State Shard::state() const {
    const MutexLock lock(mutex_);
    State state;
    state.rows = active_->rows() + (frozen_ != nullptr ? frozen_->rows() : 0);
    state.active_bytes = active_->capacity_bytes();
    state.frozen_bytes = frozen_ != nullptr ? frozen_->capacity_bytes() : 0;
    state.pending_batches = pending_.size();
    state.open = intake_ == Intake::kOpen;
    state.flushing = flushing_;
    state.flush_wanted =
        frozen_ != nullptr || (flush_requested_ > checkpoint_ && !active_->empty());
    state.retry_at = retry_at_;
    state.oldest_row = active_->empty() ? SteadyNanos::never() : oldest_row_;
    state.last_append = last_append_;
    return state;
}

void Shard::account() {
    active_memory_.force_resize(static_cast<std::int64_t>(active_->capacity_bytes()));
}

}  // namespace molesignal
