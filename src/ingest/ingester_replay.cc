// Start-up: the log's rows become memtables again, what was half done is finished or undone.
#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "ingest/batch_codec.h"
#include "ingest/flusher.h"
#include "ingest/ingester.h"
#include "ingest/ingester_state.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(replay_claimed);
MS_DEFINE_FAILPOINT(replay_after_batch);
MS_DEFINE_FAILPOINT(replay_after_flush);
MS_DEFINE_FAILPOINT(replay_intent_abandoned);
MS_DEFINE_FAILPOINT(replay_object_removed);
MS_DEFINE_FAILPOINT(replay_before_settled);

constexpr std::uint8_t kDescriptionVersion = 1;

}  // namespace

/// What the start knows of the log's queues and their shards.
struct Ingester::Replay {
    std::map<ShardId, ShardInfo> infos;  ///< Claimed ones, and those that a queue is named after.
    std::map<StreamId, StreamInfo> streams;
    std::map<ShardId, std::shared_ptr<Shard>> shards;  ///< With rows to be drained.
};

ByteBuffer describe_queue(const StreamInfo& stream) {
    ByteBuffer out;
    append_le(out, kDescriptionVersion);
    for (const std::string_view text : {std::string_view(stream.org.value),
                                        std::string_view(stream.id.value),
                                        stream_type_name(stream.type),
                                        std::string_view(stream.name)}) {
        append_le(out, static_cast<std::uint16_t>(text.size()));
        append_bytes(out, as_bytes(text));
    }
    return out;
}

StreamId stream_of_queue(Bytes description) {
    constexpr std::size_t kSizeBytes = 2;
    if (description.empty() || load_le<std::uint8_t>(description, 0) != kDescriptionVersion) {
        return {};
    }
    description = description.subspan(1);
    // The organisation's id, then the stream's.
    for (int text = 0; text < 2; ++text) {
        if (description.size() < kSizeBytes) {
            return {};
        }
        const auto size = load_le<std::uint16_t>(description, 0);
        description = description.subspan(kSizeBytes);
        if (description.size() < size) {
            return {};
        }
        if (text == 1) {
            return StreamId{std::string(as_text(description.first(size)))};
        }
        description = description.subspan(size);
    }
    return {};
}

Result<> Ingester::start(const RequestContext& context,
                         const std::function<void(std::uint64_t)>& progress) {
    MS_TRY(wal_, Wal::open(context, options_.wal_directory, options_.wal, fs_, clock_, metrics_));
    owner_ = fmt::format("{:016x}", wal_->log_id());
    Replay replay;
    MS_TRY_VOID(claim_shards(context, replay));
    MS_PASS_FAILPOINT(replay_claimed);
    // The epochs have moved on: what is pending of this log will never commit.
    MS_TRY_VOID(clean_up_intents(context, [](const FlushIntent&) { return true; }));
    std::uint64_t rows = 0;
    MS_TRY_VOID(wal_->replay(context, [&](const WalBatch& batch) -> Result<> {
        MS_TRY_VOID(replay_batch(context, replay, batch));
        rows += batch.rows;
        progress(rows);
        return {};
    }));
    return settle_after_replay(context, replay);
}

Result<> Ingester::claim_shards(const RequestContext& context, Replay& replay) {
    const auto queues = wal_->queues();
    std::vector<std::pair<ShardId, Position>> tails;
    tails.reserve(queues.size());
    for (const auto& queue : queues) {
        tails.emplace_back(ShardId{queue.queue.value}, queue.next);
    }
    MS_TRY(auto claimed, catalogue_.claim_shards(context, owner_, tails));
    for (auto& info : claimed) {
        replay.infos.insert_or_assign(info.id, std::move(info));
    }
    for (const auto& queue : queues) {
        const auto found = replay.infos.find(ShardId{queue.queue.value});
        MS_TRY_VOID(check_owner(queue, found == replay.infos.end() ? nullptr : &found->second));
        if (found != replay.infos.end() && queue.truncated > found->second.checkpoint) {
            note_older_catalogue(queue, found->second);
        }
    }
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    for (const auto& org : organizations) {
        MS_TRY(auto streams, catalogue_.list_streams(context, org.id));
        for (auto& stream : streams) {
            replay.streams.insert_or_assign(stream.id, std::move(stream));
        }
    }
    return {};
}

/// The log gives up rows when the catalogue has committed their parts, never before: this one has
/// forgotten them. What there is of the rows is served; nothing can be done here about the others.
void Ingester::note_older_catalogue(const WalQueue& queue, const ShardInfo& shard) {
    const auto finding = fmt::format(
        "rows {} to {} of shard {} were handed over to the catalogue ({}), which does not know "
        "them: it was restored from an older copy, or its last transactions were lost",
        shard.checkpoint.value,
        queue.truncated.value - 1,
        shard.id.value,
        catalogue_.describe());
    log_error("the catalogue is older than the log", {{"finding", finding}});
    start_findings_.push_back(finding);
}

/// Whether the queue's rows belong into this shard of the catalogue. If not, log and catalogue are
/// of different origin, and the start ends before a row goes anywhere.
Result<> Ingester::check_owner(const WalQueue& queue, const ShardInfo* shard) const {
    if (queue.next == queue.truncated) {
        return {};  // No rows: nothing can go to the wrong place.
    }
    const auto stream = stream_of_queue(queue.description);
    if (shard != nullptr && shard->owner == owner_ &&
        (stream.value.empty() || stream == shard->stream)) {
        return {};
    }
    return Error(
        ErrorCode::kConflict,
        fmt::format("the write-ahead log in {} holds rows of shard {}, which the catalogue "
                    "({}) {}: they do not belong together. Start with the catalogue that "
                    "this log was written with, or move the log away",
                    options_.wal_directory,
                    queue.queue.value,
                    catalogue_.describe(),
                    shard == nullptr ? "does not know" : "knows as another one's"));
}

/// The shard of a queue; null if its stream was deleted.
std::shared_ptr<Shard> Ingester::replayed_shard(Replay& replay, QueueId queue) {
    const ShardId id{queue.value};
    if (const auto found = replay.shards.find(id); found != replay.shards.end()) {
        return found->second;
    }
    const auto& info = replay.infos.at(id);
    const auto known = replay.streams.find(info.stream);
    if (known == replay.streams.end() || info.state == ShardState::kDeleted) {
        replay.shards.emplace(id, nullptr);
        return nullptr;
    }
    auto shard = std::make_shared<Shard>(
        info, known->second, info.checkpoint, Shard::Intake::kClosed, memory_, clock_.steady_now());
    replay.shards.emplace(id, shard);
    const MutexLock lock(mutex_);
    auto& stream = streams_[info.stream];
    if (stream == nullptr) {
        stream = std::make_shared<Stream>(known->second);
    }
    const MutexLock stream_lock(stream->mutex);
    stream->shards.push_back(shard);
    return shard;
}

Result<> Ingester::flush_replayed(const RequestContext& context, Shard& shard) {
    const auto frozen = shard.begin_flush();
    if (frozen == nullptr) {
        return {};
    }
    auto flushed = flusher_->flush(context, shard, *frozen);
    if (!flushed && wal_->release_reserve()) {
        flushed = flusher_->flush(context, shard, *frozen);
    }
    if (!flushed) {
        shard.end_flush_failed(flushed.error(), clock_.steady_now());
        // Whatever it is, it is not this record that is of no use.
        const auto code = flushed.error().code() == ErrorCode::kCorruption ? ErrorCode::kInternal
                                                                           : flushed.error().code();
        return Error(code, "flush while replaying the log: " + flushed.error().message());
    }
    shard.end_flush_committed(*flushed);
    MS_PASS_FAILPOINT(replay_after_flush);
    return {};
}

/// Flushes the largest memtables down to a quarter of the budget: one at a time, whoever is next,
/// would be a flush for every few rows once many small shards have filled half of it.
Result<> Ingester::make_room(const RequestContext& context, const Replay& replay) {
    while (memory_->used_bytes() * 4 > memory_->limit_bytes()) {
        std::shared_ptr<Shard> largest;
        std::uint64_t most = 0;
        for (const auto& [id, shard] : replay.shards) {
            const auto bytes = shard == nullptr ? 0 : shard->state().active_bytes;
            if (bytes > most) {
                most = bytes;
                largest = shard;
            }
        }
        if (largest == nullptr || largest->state().rows == 0) {
            return {};
        }
        MS_TRY_VOID(flush_replayed(context, *largest));
    }
    return {};
}

Result<> Ingester::replay_batch(const RequestContext& context,
                                Replay& replay,
                                const WalBatch& record) {
    const auto shard = replayed_shard(replay, record.queue);
    const Position end{record.begin.value + record.rows};
    if (shard == nullptr || end <= shard->checkpoint()) {
        return {};  // The stream is gone, or the rows are in parts.
    }
    if (shard->has_gap(record.begin)) {
        // Damage took records in between: what came before is stored first, so that positions stay
        // true.
        MS_TRY_VOID(flush_replayed(context, *shard));
    }
    auto decoded = decode_batch(record.payload);
    if (!decoded) {
        // For the log: the record is set aside, the others go on.
        return Error(ErrorCode::kCorruption,
                     fmt::format("batch at position {} of shard {}: {}",
                                 record.begin.value,
                                 shard->id().value,
                                 decoded.error().message()));
    }
    if (decoded->rows() != record.rows) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("batch at position {} of shard {}: {} rows, the log says {}",
                                 record.begin.value,
                                 shard->id().value,
                                 decoded->rows(),
                                 record.rows));
    }
    const auto bytes = shard->replay(*decoded, record.begin, clock_.steady_now());
    MS_PASS_FAILPOINT(replay_after_batch);
    if (bytes >= options_.memtable_bytes) {
        MS_TRY_VOID(flush_replayed(context, *shard));
    }
    if (memory_->used_bytes() * 2 > memory_->limit_bytes()) {
        MS_TRY_VOID(make_room(context, replay));
    }
    return {};
}

Result<> Ingester::settle_after_replay(const RequestContext& context, const Replay& replay) {
    for (const auto& queue : wal_->queues()) {
        const auto found = replay.shards.find(ShardId{queue.queue.value});
        if (found != replay.shards.end() && found->second != nullptr) {
            MS_TRY_VOID(wal_->truncate(context, queue.queue, found->second->checkpoint()));
            continue;
        }
        // Without rows, or all of them are in parts, or its stream was deleted.
        const auto info = replay.infos.find(ShardId{queue.queue.value});
        if (found != replay.shards.end() && info->second.checkpoint < queue.next) {
            log_warn(
                "rows of a deleted stream are dropped from the log",
                {{"shard", queue.queue.value}, {"rows", queue.next.value - queue.truncated.value}});
        }
        MS_TRY_VOID(wal_->delete_queue(context, queue.queue));
    }
    MS_PASS_FAILPOINT(replay_before_settled);
    // Shards of this log without rows in it are finished. Those of other logs are not ours to
    // judge.
    std::vector<ShardId> finished;
    for (const auto& [id, info] : replay.infos) {
        const auto found = replay.shards.find(id);
        const bool drains = found != replay.shards.end() && found->second != nullptr;
        if (info.owner == owner_ && info.state != ShardState::kDeleted && !drains) {
            finished.push_back(id);
        }
    }
    return catalogue_.delete_shards(context, owner_, finished);
}

Result<> Ingester::clean_up_intents(const RequestContext& context,
                                    const std::function<bool(const FlushIntent&)>& is_dead) {
    MS_TRY(const auto intents, catalogue_.list_flush_intents(context));
    for (const auto& intent : intents) {
        if (intent.owner != owner_ || !is_dead(intent)) {
            continue;
        }
        // Marked first: a commit of this flush, should one still be on its way, can no longer
        // succeed.
        if (auto abandoned = catalogue_.abandon_flush_intent(context, intent.flush_id);
            !abandoned) {
            if (abandoned.error().code() == ErrorCode::kConflict) {
                continue;
            }
            return abandoned;
        }
        MS_PASS_FAILPOINT(replay_intent_abandoned);
        for (const auto& key : intent.object_keys) {
            MS_TRY_VOID(objects_.remove(context, key));
            MS_PASS_FAILPOINT(replay_object_removed);
        }
        MS_TRY_VOID(catalogue_.remove_flush_intent(context, intent.flush_id));
        log_info("removed the objects of an unfinished flush; its rows are in the log",
                 {{"flush", intent.flush_id}, {"objects", intent.object_keys.size()}});
    }
    return {};
}

}  // namespace molesignal
