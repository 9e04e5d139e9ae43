#include "storage/hot_rows.h"

#include <algorithm>

namespace molesignal {
std::uint64_t HotSnapshot::rows() const {
    std::uint64_t sum = 0;
    for (const auto& chunk : chunks) {
        sum += chunk.rows - chunk.begin;
    }
    return sum;
}

void add_hot_fields(StreamSchema& schema, const HotSnapshot& snapshot) {
    std::int32_t next = -1;
    for (std::size_t i = 0; i < snapshot.fields.size(); ++i) {
        const auto& [name, type] = snapshot.fields[i];
        if (name == kExtraField) {
            continue;
        }
        const auto known = std::ranges::find_if(schema.variants, [&](const FieldVariant& variant) {
            return variant.type == type && variant.name == name;
        });
        if (known != schema.variants.end()) {
            known->inexact_as_float |= snapshot.inexact_as_float[i];
            continue;
        }
        schema.variants.push_back({.id = FieldId{next--},
                                   .name = name,
                                   .type = type,
                                   .inexact_as_float = snapshot.inexact_as_float[i]});
    }
}

void drop_flushed_rows(HotSnapshot& snapshot,
                       const std::vector<std::pair<ShardId, Position>>& checkpoints) {
    for (auto& chunk : snapshot.chunks) {
        const auto found =
            std::ranges::find(checkpoints, chunk.shard, &std::pair<ShardId, Position>::first);
        if (found == checkpoints.end()) {
            chunk.begin = chunk.rows;
            continue;
        }
        if (found->second <= chunk.first_position) {
            continue;
        }
        const auto flushed = found->second.value - chunk.first_position.value;
        chunk.begin = static_cast<std::uint32_t>(std::min<std::uint64_t>(chunk.rows, flushed));
    }
    std::erase_if(snapshot.chunks, [](const HotChunk& chunk) { return chunk.begin == chunk.rows; });
}

}  // namespace molesignal
