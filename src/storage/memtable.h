#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/hot_chunk.h"
#include "model/ids.h"
#include "model/row_batch.h"
#include "storage/hot_rows.h"

namespace molesignal {

class MemtableChunk;

/// The acknowledged rows of one shard that are not in a part yet, column by column.
///
/// Rows go into chunks whose arrays never move once allocated; a chunk is sealed when full. So a
/// snapshot is a set of pointers and a row count, and stays readable without a lock while rows are
/// appended and after the memtable is gone. Text columns with few distinct values keep a dictionary
/// per chunk; one with many gives it up and tries again some chunks later. Columns that few rows
/// have are kept sparse, so that memory follows the values, not rows times columns.
///
/// Not thread-safe: the owner's lock guards append and snapshot. Snapshots may be read from
/// anywhere.
class Memtable {
public:
    Memtable(ShardId shard, Position begin);
    ~Memtable();
    Memtable(const Memtable&) = delete;
    Memtable& operator=(const Memtable&) = delete;

    /// Appends all rows of `batch` (finished) at end().
    void append(const RowBatch& batch, std::uint64_t raw_bytes);

    /// The rows present now; cheap: a copy of views, and of the open chunk's validity bits.
    std::vector<HotChunk> snapshot() const;

    /// A field of these rows, in order of first appearance.
    struct Field {
        std::string name;
        FieldType type = FieldType::kString;
        /// kInt64, kUint64: a value was seen that float64 cannot hold exactly.
        bool inexact_as_float = false;
    };
    const std::vector<Field>& fields() const { return fields_; }

    ShardId shard() const { return shard_; }
    Position begin() const { return begin_; }
    Position end() const { return end_; }
    std::uint64_t rows() const { return end_.value - begin_.value; }
    bool empty() const { return rows() == 0; }
    /// Memory that the chunks have allocated.
    std::uint64_t capacity_bytes() const { return capacity_bytes_; }
    /// Bytes that the senders sent for these rows.
    std::uint64_t raw_bytes() const { return raw_bytes_; }

private:
    MemtableChunk& open_chunk();
    void append_rows(const RowBatch& batch,
                     std::uint32_t first,
                     std::uint32_t count,
                     MemtableChunk& chunk);
    void note_fields(const RowBatch& batch);
    /// Index of the column's field, made if missing; `guess` is tried first.
    std::size_t field_of(const BatchColumn& column, std::size_t guess);

    ShardId shard_;
    Position begin_;
    Position end_;
    std::uint64_t capacity_bytes_ = 0;
    std::uint64_t raw_bytes_ = 0;
    std::vector<Field> fields_;
    /// What the next chunk needs to know of a field.
    struct FieldState {
        /// Chunks for which to use plain text after a dictionary overflowed.
        std::uint32_t plain_chunks_left = 0;
        bool sparse = false;  ///< It was in the last chunk that had it.
    };
    std::vector<FieldState> states_;
    std::unordered_map<std::string, std::size_t> index_;  ///< By name and type.
    /// Field index of each column of the last batch, a guess for the next one.
    std::vector<std::size_t> field_of_column_;
    std::vector<HotChunk> sealed_;
    std::shared_ptr<MemtableChunk> open_;
};

}  // namespace molesignal
