#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/hot_chunk.h"
#include "model/row_batch.h"

namespace molesignal {

/// One column of a MemtableChunk. Arrays have the chunk's capacity and never move; what a reader
/// may still point at is kept until the chunk dies.
class MemtableColumn {
public:
    /// `name` must outlive the chunk's owner. `capacity_bytes` is the chunk's account.
    MemtableColumn(std::string name,
                   FieldType type,
                   std::uint32_t capacity_rows,
                   bool plain,
                   std::uint64_t& capacity_bytes);

    /// Appends rows [first, first + count) of `source` at row `at`; rows between rows() and `at`
    /// are null.
    void append(const BatchColumn& source,
                std::uint32_t first,
                std::uint32_t count,
                std::uint32_t at);

    /// The column as of now. With `copied_bits` the validity bits are copied there and pointed at.
    HotColumnView view(std::vector<std::unique_ptr<std::uint64_t[]>>* copied_bits) const;
    /// Whether the dictionary was given up.
    bool overflowed() const { return overflowed_; }

private:
    void append_fixed(const BatchColumn& source,
                      std::uint32_t first,
                      std::uint32_t count,
                      std::uint32_t at);
    void append_plain(const BatchColumn& source,
                      std::uint32_t first,
                      std::uint32_t count,
                      std::uint32_t at);
    void append_coded(const BatchColumn& source,
                      std::uint32_t first,
                      std::uint32_t count,
                      std::uint32_t at);
    void set_validity(const BatchColumn& source,
                      std::uint32_t first,
                      std::uint32_t count,
                      std::uint32_t at);
    void make_bits(std::uint32_t valid_rows);
    /// Code of `value`, or kNoCode if the dictionary is full.
    std::uint32_t code_of(std::string_view value);
    void give_up_dictionary();
    char* reserve_text(std::size_t bytes);

    static constexpr std::uint32_t kNoCode = UINT32_MAX;

    std::string name_;
    FieldType type_;
    HotEncoding encoding_;
    std::uint32_t capacity_rows_;
    std::uint64_t& capacity_bytes_;
    std::uint32_t rows_ = 0;
    bool overflowed_ = false;

    std::unique_ptr<std::uint64_t[]> bits_;
    std::unique_ptr<std::uint64_t[]> fixed_;
    std::unique_ptr<TextSpan[]> spans_;       // kText: a row each.
    std::unique_ptr<std::uint32_t[]> codes_;  // kDictionary: a row each.
    std::unique_ptr<TextSpan[]> entries_;     // kDictionary.
    std::uint32_t entries_size_ = 0;
    std::uint32_t entries_max_ = 0;
    std::vector<std::uint32_t> slots_;  // Open addressing: entry index + 1, 0 is free.
    std::vector<std::uint32_t> slot_hashes_;

    std::vector<std::unique_ptr<char[]>> blocks_;
    char* block_at_ = nullptr;
    std::size_t block_left_ = 0;
    std::size_t block_next_ = 4096;
};

/// Up to `capacity_rows` rows of a shard, appended by one thread under the memtable's lock.
class MemtableChunk : public std::enable_shared_from_this<MemtableChunk> {
public:
    MemtableChunk(ShardId shard, Position first_position, std::uint32_t capacity_rows);

    std::uint32_t rows() const { return rows_; }
    std::uint32_t room() const { return capacity_rows_ - rows_; }
    std::uint64_t capacity_bytes() const { return capacity_bytes_; }

    /// The column of a field of the memtable, made if missing.
    MemtableColumn& column(std::size_t field, const std::string& name, FieldType type, bool plain);
    /// Columns by field; null where the chunk has none.
    const std::vector<std::unique_ptr<MemtableColumn>>& columns() const { return columns_; }
    /// Appends the timestamps, which makes the rows count; columns come first.
    void append_timestamps(const std::int64_t* values, std::uint32_t count);

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
