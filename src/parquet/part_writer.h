#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "model/hot_chunk.h"
#include "model/schema.h"
#include "parquet/part_plan.h"

namespace molesignal {

struct PartWriterOptions {
    int zstd_level = 1;
    std::uint64_t rows_per_group = 32'768;
};

/// Bounds of one field in a part. Text is canonical: decimal numbers (bool 0 and 1), or the first
/// 64 bytes of a string, the maximum rounded up.
struct WrittenZone {
    FieldId field;
    std::string min;
    std::string max;
    std::uint64_t null_count = 0;
};

/// Where a row group lies in its file; groups follow each other without gaps, from the start.
struct WrittenRowGroup {
    std::uint64_t rows = 0;
    std::uint64_t byte_end = 0;  ///< One past its last byte.
};

/// What a part's Parquet file holds.
struct PartShape {
    std::uint64_t rows = 0;
    std::int64_t time_min_ns = 0;
    std::int64_t time_max_ns = 0;
    Position position_begin;
    Position position_end;
    std::vector<FieldId> fields;
    std::vector<WrittenZone> zone_maps;
    std::vector<WrittenRowGroup> row_groups;
    std::string sort_order;
};

/// A part as one Parquet file in memory (docs/formats/part.md).
struct WrittenPart : PartShape {
    ByteBuffer file;
};

/// Writes the rows of `slice`. `schema` has an id for every (name, type) of the chunks but
/// `_extra`; kInternal if one is missing. Fields without a value in these rows are left out. What
/// Arrow allocates is counted on `memory`: a row group's encoded bytes and one column of it.
Result<WrittenPart> write_part(const PartSlice& slice,
                               std::span<const HotChunk> chunks,
                               const StreamSchema& schema,
                               ShardId shard,
                               const PartWriterOptions& options,
                               const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
