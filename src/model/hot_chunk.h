#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "model/field_type.h"
#include "model/ids.h"

namespace molesignal {

/// A run of bytes inside a memtable, valid as long as the HotChunk is held.
struct TextSpan {
    const char* data = nullptr;
    std::uint32_t size = 0;
    std::string_view view() const { return {data, size}; }
};

/// How a column of a HotChunk keeps its values, by slot (HotColumnView::slot).
enum class HotEncoding : std::uint8_t {
    kFixed = 1,  ///< `fixed[slot]`: eight bytes (bool 0/1, double bits, timestamp nanoseconds).
    kText = 2,   ///< `spans[slot]`.
    kDictionary = 3,  ///< `spans[codes[slot]]`, an index into the dictionary entries.
};

/// One (field, type) of a chunk of at most HotChunk::kRowsMax rows. Read-only view; the pointers
/// live as long as the chunk. Rows beyond the column's own `rows` are null.
///
/// A dense column has a slot for every row. A sparse one, which few rows have, has slots for its
/// values only, and their rows in `sparse_rows`.
struct HotColumnView {
    static constexpr std::uint32_t kNoSlot = UINT32_MAX;

    std::string_view name;
    FieldType type = FieldType::kString;
    HotEncoding encoding = HotEncoding::kFixed;
    std::uint32_t rows = 0;
    const std::uint64_t* valid =
        nullptr;  ///< Dense: a bit a row; nullptr: nothing is null below `rows`.
    const std::uint16_t* sparse_rows = nullptr;  ///< Sparse: the row of each slot, ascending.
    std::uint32_t sparse_size = 0;               ///< Sparse: number of slots.
    const std::uint64_t* fixed = nullptr;
    const TextSpan* spans = nullptr;
    const std::uint16_t* codes = nullptr;
    std::uint32_t dictionary_size = 0;  ///< Entries of `spans` for kDictionary.

    bool is_sparse() const { return sparse_rows != nullptr; }
    /// Where the value of `row` is, or kNoSlot: the row is null. Sparse: a search.
    std::uint32_t slot(std::uint32_t row) const {
        if (is_sparse()) {
            return sparse_slot(row);
        }
        const bool null =
            row >= rows || (valid != nullptr && (valid[row >> 6U] >> (row & 63U) & 1U) == 0);
        return null ? kNoSlot : row;
    }
    bool is_null(std::uint32_t row) const { return slot(row) == kNoSlot; }
    /// The first slot of a sparse column whose row is `row` or a later one.
    std::uint32_t sparse_lower_bound(std::uint32_t row) const;
    std::string_view text(std::uint32_t at_slot) const {
        return encoding == HotEncoding::kDictionary ? spans[codes[at_slot]].view()
                                                    : spans[at_slot].view();
    }
    /// By row, which must not be null.
    std::string_view text_at(std::uint32_t row) const { return text(slot(row)); }
    std::uint64_t fixed_at(std::uint32_t row) const { return fixed[slot(row)]; }

private:
    std::uint32_t sparse_slot(std::uint32_t row) const;
};

/// Up to 16,384 acknowledged rows of one shard: [begin, rows), immutable as seen through this view.
struct HotChunk {
    static constexpr std::uint32_t kRowsMax = 16'384;
    static_assert(kRowsMax <= UINT16_MAX);

    std::shared_ptr<const void> owner;  ///< Keeps every pointer below alive.
    ShardId shard;
    Position first_position;  ///< Row i has position first_position + i.
    std::uint32_t begin = 0;  ///< The first row of this view; rows before it are not part of it.
    std::uint32_t rows = 0;   ///< One past the last row.
    const std::int64_t* timestamps = nullptr;  ///< Nanoseconds since 1970 UTC, a value a row.
    std::int64_t time_min_ns = 0;
    std::int64_t time_max_ns = 0;
    std::vector<HotColumnView> columns;

    /// The column (name, type), or nullptr: every row is null.
    const HotColumnView* find(std::string_view name, FieldType type) const;
};

}  // namespace molesignal
