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

/// How a column of a HotChunk keeps its values.
enum class HotEncoding : std::uint8_t {
    kFixed = 1,       ///< `fixed[row]`: eight bytes (bool 0/1, double bits, timestamp nanoseconds).
    kText = 2,        ///< `spans[row]`.
    kDictionary = 3,  ///< `spans[codes[row]]`, an index into the dictionary entries.
};

/// One (field, type) of a chunk of at most HotChunk::kRowsMax rows. Read-only view; the pointers
/// live as long as the chunk. Rows beyond the column's own `rows` are null.
struct HotColumnView {
    std::string_view name;
    FieldType type = FieldType::kString;
    HotEncoding encoding = HotEncoding::kFixed;
    std::uint32_t rows = 0;
    const std::uint64_t* valid = nullptr;  ///< A bit a row; nullptr: nothing is null below `rows`.
    const std::uint64_t* fixed = nullptr;
    const TextSpan* spans = nullptr;
    const std::uint32_t* codes = nullptr;
    std::uint32_t dictionary_size = 0;  ///< Entries of `spans` for kDictionary.

    bool is_null(std::uint32_t row) const {
        return row >= rows || (valid != nullptr && (valid[row >> 6U] >> (row & 63U) & 1U) == 0);
    }
    std::string_view text(std::uint32_t row) const {
        return encoding == HotEncoding::kDictionary ? spans[codes[row]].view() : spans[row].view();
    }
};

/// Up to 16,384 acknowledged rows of one shard: [begin, rows), immutable as seen through this view.
struct HotChunk {
    static constexpr std::uint32_t kRowsMax = 16'384;

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
