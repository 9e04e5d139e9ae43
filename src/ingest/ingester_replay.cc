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

MS_DEFINE_FAILPOINT(replay_after_batch);
MS_DEFINE_FAILPOINT(replay_after_flush);
MS_DEFINE_FAILPOINT(replay_intent_abandoned);
MS_DEFINE_FAILPOINT(replay_object_removed);
MS_DEFINE_FAILPOINT(replay_before_settled);

constexpr std::uint8_t kDescriptionVersion = 1;

}  // namespace

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

Result<> Ingester::replay(const RequestContext& context,
                          const std::function<void(std::uint64_t)>& progress) {
    MS_TRY(wal_, Wal::open(context, options_.wal_directory, options_.wal, fs_, clock_, metrics_));
    std::uint64_t rows = 0;
    return wal_->replay(context, [&](const WalBatch& batch) -> Result<> {
        MS_TRY_VOID(replay_batch(context, batch));
        rows += batch.rows;
        progress(rows);
        return {};
    });
}

Result<std::shared_ptr<Shard>> Ingester::replayed_shard(const RequestContext& context,
                                                        const WalBatch& batch) {
    const ShardId id{batch.queue.value};
    {
        const MutexLock lock(mutex_);
        if (const auto found = replayed_.find(id); found != replayed_.end()) {
            return found->second;
        }
    }
    MS_TRY(auto info, catalogue_.get_shard(context, id));
    if (!info.has_value()) {
        return Error(
            ErrorCode::kConflict,
            fmt::format(
                "the write-ahead log in {} holds rows of shard {}, which the catalogue ({}) "
                "does not know: they do not belong together. Start with the catalogue that "
                "this log was written with, or move the log away",
                options_.wal_directory,
                id.value,
                catalogue_.describe()));
    }
    std::shared_ptr<Shard> shard;
    if (info->state != ShardState::kDeleted) {
        StreamInfo stream;
        stream.id = info->stream;
        // Name and organisation are known to the catalogue; a flush needs the organisation for its
        // keys.
        MS_TRY(const auto organizations, catalogue_.list_organizations(context));
        for (const auto& org : organizations) {
            MS_TRY(auto found, catalogue_.get_stream(context, org.id, info->stream));
            if (found.has_value()) {
                stream = std::move(*found);
                break;
            }
        }
        if (!stream.name.empty()) {
            shard = std::make_shared<Shard>(
                *info, stream, info->checkpoint, Shard::Intake::kClosed, memory_);
        }
    }
    const MutexLock lock(mutex_);
    replayed_[id] = shard;
    if (shard == nullptr) {
        dead_queues_.push_back(batch.queue);
        return shard;
    }
    auto& stream = streams_[shard->stream().id];
    if (stream == nullptr) {
        stream = std::make_shared<Stream>(shard->stream());
    }
    const MutexLock stream_lock(stream->mutex);
    stream->shards.push_back(shard);
    return shard;
}

Result<> Ingester::replay_batch(const RequestContext& context, const WalBatch& record) {
    MS_TRY(const auto shard, replayed_shard(context, record));
    const Position end{record.begin.value + record.rows};
    if (shard == nullptr || end <= shard->checkpoint()) {
        return {};  // The stream is gone, or the rows are in parts.
    }
    const auto flush_now = [&]() -> Result<> {
        const auto frozen = shard->begin_flush();
        if (frozen == nullptr) {
            return {};
        }
        auto flushed = flusher_->flush(context, *shard, *frozen);
        if (!flushed) {
            shard->end_flush_failed(clock_.steady_now());
            // Whatever it is, it is not this record that is of no use.
            const auto code = flushed.error().code() == ErrorCode::kCorruption
                                  ? ErrorCode::kInternal
                                  : flushed.error().code();
            return Error(code, "flush while replaying the log: " + flushed.error().message());
        }
        shard->end_flush_committed(*flushed);
        MS_PASS_FAILPOINT(replay_after_flush);
        return {};
    };
    if (shard->has_gap(record.begin)) {
        // Damage took records in between: what came before is stored first, so that positions stay
        // true.
        MS_TRY_VOID(flush_now());
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
    shard->replay(*decoded, record.begin, clock_.steady_now());
    MS_PASS_FAILPOINT(replay_after_batch);
    if (shard->state().active_bytes >= options_.memtable_bytes ||
        memory_->used_bytes() * 2 > memory_->limit_bytes()) {
        MS_TRY_VOID(flush_now());
    }
    return {};
}

Result<> Ingester::settle_after_replay(const RequestContext& context) {
    MS_TRY_VOID(clean_up_intents(context));
    std::vector<QueueId> dead;
    std::map<ShardId, std::shared_ptr<Shard>> replayed;
    {
        const MutexLock lock(mutex_);
        dead.swap(dead_queues_);
        replayed.swap(replayed_);
    }
    for (const auto& queue : wal_->queues()) {
        const auto found = replayed.find(ShardId{queue.queue.value});
        if (found == replayed.end()) {
            dead.push_back(queue.queue);  // No rows: nothing to drain.
        } else if (found->second != nullptr) {
            MS_TRY_VOID(wal_->truncate(context, queue.queue, found->second->checkpoint()));
        }
    }
    std::ranges::sort(dead);
    const auto repeated = std::ranges::unique(dead);
    dead.erase(repeated.begin(), repeated.end());
    for (const auto queue : dead) {
        MS_TRY_VOID(wal_->delete_queue(context, queue));
    }
    MS_PASS_FAILPOINT(replay_before_settled);
    // Shards of an earlier run that have no rows in the log are finished.
    MS_TRY(const auto live, catalogue_.list_live_shards(context));
    for (const auto& info : live) {
        const auto found = replayed.find(info.id);
        if (found == replayed.end() || found->second == nullptr) {
            MS_TRY_VOID(
                catalogue_.set_shard_state(context, info.id, info.epoch, ShardState::kDeleted));
        }
    }
    return {};
}

Result<> Ingester::clean_up_intents(const RequestContext& context) {
    MS_TRY(const auto intents, catalogue_.list_flush_intents(context));
    for (const auto& intent : intents) {
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
