#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "index/area_reader.h"
#include "index/row_set.h"
#include "index/sidecar_format.h"

namespace molesignal {

/// The stable hash of an id: XXH3-64 of its bytes, seed 0.
std::uint64_t id_hash(std::string_view id);

/// Bits that a table keeps of the hash of each of about `entries`: 30, or ten more than it takes to
/// number them. So a look-up of an id that is not there finds one with a chance of 2^-10 at most,
/// and tables of many small parts can be merged.
unsigned table_hash_bits(std::uint64_t entries);

/// A table of ids, encoded: buckets and where they lie (docs/formats/index.md).
struct EncodedTable {
    ByteBuffer hashes;
    ByteBuffer index;
};

/// Writes a table from its entries in their order: hash (its upper bits count), then block.
class HashTableEncoder {
public:
    /// `shape`: hash_bits and bucket_bits are set, entries are counted; it outlives this. `blocks`:
    /// how many there are; numbers are below.
    HashTableEncoder(HashShape& shape, std::uint64_t blocks);
    void add(std::uint64_t hash, std::uint64_t block);
    std::size_t bytes() const { return table_.hashes.size() + table_.index.size(); }
    EncodedTable finish() &&;

    /// The bucket_bits of a table of about `entries`.
    static unsigned bucket_bits(std::uint64_t entries);

private:
    struct Entry {
        std::uint64_t rest = 0;  ///< The hash's bits below the bucket's.
        std::uint64_t block = 0;
    };
    void end_buckets(std::uint64_t next);

    HashShape& shape_;
    unsigned block_bits_;
    std::uint64_t bucket_ = 0;
    std::vector<Entry> entries_;  ///< Of the bucket.
    EncodedTable table_;
};

/// Collects the ids of a field: for each a part of its hash, and the blocks of rows that have it.
/// One thread at a time.
///
/// A part of many rows is read in several passes: each takes the ids whose hash begins with the
/// pass's number, so that one pass's ids are in memory at a time. With one pass the ids come once:
///
///     do { for (row…) table.add(id_hash(id), row); } while (table.next_pass());
///     auto encoded = std::move(table).finish(shape);
class HashTableBuilder {
public:
    /// More entries in a pass (or eight a row) are not worth their memory: all are dropped.
    static constexpr std::uint64_t kEntriesMax = std::uint64_t{1} << 25U;

    /// `pass_bits`: there are 2^pass_bits passes.
    HashTableBuilder(std::uint32_t rows, unsigned pass_bits);
    void add(std::uint64_t hash, std::uint32_t row);
    /// Encodes what came; whether there is another pass.
    bool next_pass();
    std::size_t capacity_bytes() const;
    /// About what next_pass() and finish() allocate beyond that.
    std::size_t finish_bytes() const { return capacity_bytes() * 2; }

    /// The table, after the last pass; fills `shape`.
    EncodedTable finish(HashShape& shape) &&;

private:
    static constexpr std::size_t kChunkEntries = 1U << 16U;
    void end_pass();
    std::vector<std::uint64_t> sorted_entries(unsigned hash_bits);
    void begin_table(std::uint64_t expected, const std::vector<std::uint64_t>& entries);

    std::uint32_t rows_;
    unsigned pass_bits_;
    std::uint64_t pass_ = 0;
    std::uint64_t entries_max_;
    std::uint64_t size_ = 0;
    HashShape shape_;
    std::unique_ptr<HashTableEncoder> encoder_;
    /// The hash's upper 40 bits, then 24 bits of the block.
    std::vector<std::unique_ptr<std::uint64_t[]>> chunks_;
    std::array<std::uint64_t, 1024> recent_{};  ///< Entries that came lately are not added again.
};

/// The blocks of rows of a field with a table that have one of `hashes`: all rows that have one of
/// their ids, and others. Reads the table's index and a bucket for each. `rows`: of the part.
/// kCorruption: it is not as it is written.
Result<RowSet> find_hashed_rows(const SidecarField& field,
                                AreaReader& areas,
                                std::span<const std::uint64_t> hashes,
                                std::uint32_t rows);

/// Goes through the hashes of a table in ascending order, without their blocks:
///
///     MS_TRY(auto more, cursor.next());
///     while (more) { use(cursor.hash()); MS_TRY(more, cursor.next()); }
class HashTableCursor {
public:
    /// `hashes` and `index`: the table's areas, whole; they and `shape` outlive this. `rows`: of
    /// the part.
    HashTableCursor(Bytes hashes, Bytes index, const HashShape& shape, std::uint32_t rows);
    ~HashTableCursor();
    HashTableCursor(HashTableCursor&&) noexcept;
    HashTableCursor& operator=(HashTableCursor&&) noexcept;

    /// False at the end. kCorruption: the table is not as it is written.
    Result<bool> next();
    /// Its upper hash_bits; the others are 0. The same comes for each of its blocks.
    std::uint64_t hash() const { return hash_; }

private:
    struct State;
    std::unique_ptr<State> state_;
    std::uint64_t hash_ = 0;
};

}  // namespace molesignal
