#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/mutex.h"
#include "ingest/ingester.h"
#include "ingest/shard.h"

namespace molesignal {

/// A stream as the ingester sees it: its open shard and those that drain. The lock is never held
/// over a call to the log, the catalogue or the object store.
struct Ingester::Stream {
    explicit Stream(StreamInfo stream) : id(stream.id), info(std::move(stream)) {}

    const StreamId id;
    mutable Mutex mutex;
    CondVar changed;
    StreamInfo info MS_GUARDED_BY(mutex);
    std::vector<std::shared_ptr<Shard>> shards MS_GUARDED_BY(mutex);
    std::shared_ptr<Shard> open MS_GUARDED_BY(mutex);
    bool creating MS_GUARDED_BY(mutex) = false;  ///< A thread makes the open shard; wait for it.
    /// Made in the catalogue, but the log could not take its queue: for the next try.
    std::optional<ShardInfo> unused MS_GUARDED_BY(mutex);
    /// Replaced, never changed, when a batch brings new names.
    std::shared_ptr<const std::set<std::string, std::less<>>> fields MS_GUARDED_BY(mutex) =
        std::make_shared<const std::set<std::string, std::less<>>>();
    bool fields_loaded MS_GUARDED_BY(mutex) = false;  ///< The catalogue's fields are in.
    bool dropped MS_GUARDED_BY(mutex) = false;
};

/// What a queue of the log says about its shard's stream: version byte, then organisation id,
/// stream id, type and name, each with a 16-bit length. For people, for rebuilding a lost
/// catalogue, and to see that a catalogue is the log's own.
ByteBuffer describe_queue(const StreamInfo& stream);
/// The stream id of a description; empty if it is of another version.
StreamId stream_of_queue(Bytes description);

}  // namespace molesignal
