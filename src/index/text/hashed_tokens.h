#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "index/row_set.h"
#include "index/sidecar_format.h"

namespace molesignal {

/// The stable hash of a hashed token: XXH3-64 of its bytes, seed 0.
std::uint64_t token_hash(std::string_view token);

/// Collects the ids and long numbers of a field: for each a part of its hash, and the block of
/// kHashedBlockRows rows that has it. One thread at a time.
class HashedTokens {
public:
    /// More entries than this (and eight a row) are not worth their memory: all are dropped.
    static constexpr std::uint64_t kEntriesMax = std::uint64_t{1} << 25U;

    explicit HashedTokens(std::uint32_t rows);
    void add(std::string_view token, std::uint32_t row);
    std::size_t capacity_bytes() const;

    struct Encoded {
        ByteBuffer table;
        ByteBuffer index;
    };
    /// Writes the table and fills the figures of `shape`.
    Encoded encode(TextShape& shape) &&;

private:
    static constexpr std::size_t kChunkEntries = 1U << 16U;
    std::vector<std::uint64_t> sorted_entries(unsigned hash_bits);

    std::uint32_t rows_;
    std::uint64_t entries_max_;
    std::uint64_t size_ = 0;
    bool dropped_ = false;
    /// The hash's upper 40 bits, then 24 bits of the block.
    std::vector<std::unique_ptr<std::uint64_t[]>> chunks_;
    std::array<std::uint64_t, 1024> recent_{};  ///< Entries that came lately are not added again.
};

/// A bucket of the table: bytes [begin, end) of its area.
struct HashBucket {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t entries = 0;
};

/// The bucket of `hash`. kCorruption if the index does not say.
Result<HashBucket> find_hash_bucket(Bytes index, const TextShape& shape, std::uint64_t hash);

/// The blocks of rows that a bucket's `bytes` have for `hash`: all rows that have its token, and
/// more. `rows`: of the part.
Result<RowSet> find_hashed_rows(Bytes bytes,
                                std::uint64_t entries,
                                const TextShape& shape,
                                std::uint64_t hash,
                                std::uint32_t rows);

}  // namespace molesignal
