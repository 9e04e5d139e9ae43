#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "model/hot_chunk.h"

namespace molesignal {

/// A row of a span of chunks: chunk index and row in one number.
struct RowRef {
    std::uint32_t value = 0;
    static constexpr std::uint32_t kRowBits = 14;
    static_assert((1U << kRowBits) == HotChunk::kRowsMax);
    static constexpr RowRef make(std::size_t chunk, std::uint32_t row) {
        return RowRef{static_cast<std::uint32_t>(chunk << kRowBits) | row};
    }
    constexpr std::size_t chunk() const { return value >> kRowBits; }
    constexpr std::uint32_t row() const { return value & ((1U << kRowBits) - 1); }
};

/// The rows of one part in the order in which they are written.
struct PartSlice {
    std::vector<RowRef> rows;
    /// Ends of the row groups in `rows`; the last is rows.size().
    std::vector<std::size_t> group_ends;
    std::int64_t time_min_ns = 0;
    std::int64_t time_max_ns = 0;
    /// The field that rows are sorted by inside a row group, before their time; may be empty.
    std::string sort_field;
};

/// Splits rows into parts and orders them (design §5.3): the newest three hours go to one part an
/// hour, older rows to one part a UTC day. Row groups are disjoint slices of time, the newest
/// first; inside a group rows are sorted by the service, then by time, newest first. A group has
/// `rows_per_group` rows, fewer if their texts are large.
///
/// If that makes more than `parts_max` parts, older rows go to one part for 7, 28 or 364 days, or
/// to one for all of them: a backfill of years must not make thousands of parts at once.
///
/// `chunks` holds at most 2^18 chunks. Deterministic for the same input.
std::vector<PartSlice> plan_parts(std::span<const HotChunk> chunks,
                                  UnixNanos now,
                                  std::uint64_t rows_per_group,
                                  std::size_t parts_max = SIZE_MAX);

}  // namespace molesignal
