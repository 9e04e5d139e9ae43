#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/hot_chunk.h"
#include "model/row_batch.h"
#include "storage/growing_array.h"

namespace molesignal {

/// How a column of a new chunk begins, by what the field looked like in the chunk before.
struct ColumnHints {
    bool plain = false;   ///< Text without a dictionary: there were too many values for one.
    bool sparse = false;  ///< Few rows had a value.
};

/// One column of a MemtableChunk. It begins sparse if few rows have a value, and becomes dense when
/// many have. Arrays are never changed where a reader may look: what a reader may still point at is
/// kept until the chunk dies.
class MemtableColumn {
public:
    /// `capacity_bytes` is the chunk's account.
    MemtableColumn(std::string name,
                   FieldType type,
                   std::uint32_t capacity_rows,
                   ColumnHints hints,
                   std::uint64_t& capacity_bytes);

    /// Appends rows [first, first + count) of `source` at row `at`; rows between the last one and
    /// `at` are null.
    void append(const BatchColumn& source,
                std::uint32_t first,
                std::uint32_t count,
                std::uint32_t at);

    /// The column as of now. With `copied_bits` the validity bits are copied there and pointed at.
    HotColumnView view(std::vector<std::unique_ptr<std::uint64_t[]>>* copied_bits) const;
    /// Nothing more is appended: frees what only appending needs.
    void seal();
    /// Whether the dictionary was given up.
    bool overflowed() const { return overflowed_; }
    bool is_sparse() const { return sparse_; }

private:
    struct Slot {
        std::uint32_t hash = 0;
        std::uint32_t entry = 0;  ///< Index of the dictionary entry + 1; 0: free.
    };

    void append_sparse(const BatchColumn& source,
                       std::uint32_t first,
                       std::uint32_t count,
                       std::uint32_t at);
    void append_dense(const BatchColumn& source,
                      std::uint32_t first,
                      std::uint32_t count,
                      std::uint32_t at);
    /// Puts the values [index, index + count) of `source` into the slots from `slot` on.
    void put_values(const BatchColumn& source,
                    std::uint32_t index,
                    std::uint32_t count,
                    std::uint32_t slot);
    void put_plain(const BatchColumn& source,
                   std::uint32_t index,
                   std::uint32_t count,
                   std::uint32_t slot);
    /// Makes slots up to `end` writable.
    void reserve_slots(std::uint32_t end);
    void put_nulls(std::uint32_t begin, std::uint32_t end);
    void become_dense();
    void make_bits(std::uint32_t valid_rows);
    /// Code of `value`, or kNoCode if the dictionary is full.
    std::uint32_t code_of(std::string_view value);
    void grow_slots();
    /// Turns codes into texts; `slots` of them are in use.
    void give_up_dictionary(std::uint32_t slots);
    char* reserve_text(std::size_t bytes);

    static constexpr std::uint32_t kNoCode = UINT32_MAX;

    std::string name_;
    FieldType type_;
    HotEncoding encoding_;
    std::uint32_t capacity_rows_;
    std::uint64_t& capacity_bytes_;
    std::uint32_t rows_ = 0;
    std::uint32_t sparse_size_ = 0;
    bool sparse_;
    bool overflowed_ = false;

    std::unique_ptr<std::uint64_t[]> bits_;  // Dense, once something is null.
    GrowingArray<std::uint16_t> sparse_rows_;
    GrowingArray<std::uint64_t> fixed_;
    GrowingArray<TextSpan> spans_;
    GrowingArray<std::uint16_t> codes_;
    GrowingArray<TextSpan> entries_;
    std::uint32_t entries_size_ = 0;
    std::vector<Slot> slots_;  // Open addressing over the dictionary.

    std::vector<std::unique_ptr<char[]>> blocks_;
    char* block_at_ = nullptr;
    std::size_t block_left_ = 0;
    std::size_t block_next_ = 256;
};

/// Up to `capacity_rows` rows of a shard, appended by one thread under the memtable's lock.
class MemtableChunk : public std::enable_shared_from_this<MemtableChunk> {
public:
    MemtableChunk(ShardId shard, Position first_position, std::uint32_t capacity_rows);

    std::uint32_t rows() const { return rows_; }
    std::uint32_t room() const { return capacity_rows_ - rows_; }
    std::uint64_t capacity_bytes() const { return capacity_bytes_; }

    /// The column of a field of the memtable, made if missing.
    MemtableColumn& column(std::size_t field,
                           const std::string& name,
                           FieldType type,
                           ColumnHints hints);
    /// Columns by field; null where the chunk has none.
    const std::vector<std::unique_ptr<MemtableColumn>>& columns() const { return columns_; }
    /// Appends the timestamps, which makes the rows count; columns come first.
    void append_timestamps(const std::int64_t* values, std::uint32_t count);
    /// Nothing more is appended.
    void seal();

    /// A view of the rows. `sealed`: nothing will be appended, so nothing needs to be copied.
    HotChunk view(bool sealed) const;

private:
    ShardId shard_;
    Position first_position_;
    std::uint32_t capacity_rows_;
    std::uint32_t rows_ = 0;
    std::uint64_t capacity_bytes_ = 0;
    std::int64_t time_min_ns_ = INT64_MAX;
    std::int64_t time_max_ns_ = INT64_MIN;
    std::unique_ptr<std::int64_t[]> timestamps_;
    std::vector<std::unique_ptr<MemtableColumn>> columns_;
};

}  // namespace molesignal
