#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/ids.h"

namespace molesignal {

enum class ShardState : std::uint8_t { kOpen = 1, kClosed = 2, kDeleted = 3 };

/// The catalogue's view of a shard. Rows below `checkpoint` are in parts.
struct ShardInfo {
    ShardId id;
    StreamId stream;
    std::string owner;  ///< The log that has its rows; empty: made before shards had owners.
    Epoch epoch;
    ShardState state = ShardState::kOpen;
    Position checkpoint;
    std::string last_flush_id;  ///< Empty before the first flush.
};

/// What a flush is about to upload, recorded before the first byte goes out.
struct FlushIntent {
    std::string flush_id;  ///< ULID; the retry of a flush reuses it.
    StreamId stream;
    ShardId shard;
    std::string owner = {};  ///< Of the shard; set by list_flush_intents only.
    Epoch epoch;
    Position begin;
    Position end;
    std::vector<std::string> object_keys;
    std::int64_t created_us = 0;
};

}  // namespace molesignal
