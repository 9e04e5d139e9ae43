#include "index/text/hashed_tokens.h"

#include <algorithm>
#include <bit>

#include <xxhash.h>

#include "index/coding.h"

namespace molesignal {
namespace {

constexpr unsigned kBlockBits = 24;
constexpr unsigned kStoredHashBits = 64 - kBlockBits;
static_assert(kStoredHashBits == kHashBitsMax);
constexpr std::uint64_t kBlockMask = (std::uint64_t{1} << kBlockBits) - 1;
/// A look-up of a token that is not there finds one with a chance of 2^-14.
constexpr unsigned kExtraHashBits = 14;
constexpr std::uint64_t kBucketEntries = 256;

/// Bits of a block's number in a part of `rows`.
unsigned block_bits_of(std::uint32_t rows) {
    return static_cast<unsigned>(std::bit_width((rows - 1) / kHashedBlockRows));
}

std::uint64_t low_bits(std::uint64_t value, unsigned bits) {
    return value & ((std::uint64_t{1} << bits) - 1);
}

Error corrupt() {
    return Error(ErrorCode::kCorruption, "index sidecar: the hash table is not as it is written");
}

}  // namespace

std::uint64_t token_hash(std::string_view token) {
    return XXH3_64bits(token.data(), token.size());
}

HashedTokens::HashedTokens(std::uint32_t rows)
    : rows_(rows), entries_max_(std::min(kEntriesMax, std::uint64_t{rows} * 8 + 1024)) {
    recent_.fill(UINT64_MAX);
}

void HashedTokens::add(std::string_view token, std::uint32_t row) {
    if (dropped_) {
        return;
    }
    const auto entry = (token_hash(token) & ~kBlockMask) | row / kHashedBlockRows;
    auto& recent = recent_[entry >> 54U];
    if (recent == entry) {
        return;
    }
    recent = entry;
    if (size_ == entries_max_) {
        dropped_ = true;
        chunks_.clear();
        return;
    }
    if (size_ % kChunkEntries == 0) {
        chunks_.push_back(std::make_unique_for_overwrite<std::uint64_t[]>(kChunkEntries));
    }
    chunks_.back()[size_++ % kChunkEntries] = entry;
}

std::size_t HashedTokens::capacity_bytes() const {
    return chunks_.size() * kChunkEntries * sizeof(std::uint64_t);
}

/// The distinct entries by their upper `hash_bits`, then by block. Entries came in the order of
/// their blocks, so a stable radix sort by the hash does.
std::vector<std::uint64_t> HashedTokens::sorted_entries(unsigned hash_bits) {
    std::vector<std::uint64_t> entries;
    entries.reserve(size_);
    for (std::uint64_t i = 0; i < size_; ++i) {
        entries.push_back(chunks_[i / kChunkEntries][i % kChunkEntries]);
        if ((i + 1) % kChunkEntries == 0) {
            chunks_[i / kChunkEntries].reset();
        }
    }
    chunks_.clear();
    constexpr unsigned kDigitBits = 11;
    std::vector<std::uint64_t> other(entries.size());
    for (unsigned done = 0; done < hash_bits; done += kDigitBits) {
        const auto bits = std::min(kDigitBits, hash_bits - done);
        const auto shift = 64 - hash_bits + done;
        std::array<std::uint32_t, (1U << kDigitBits) + 1> begins{};
        for (const auto entry : entries) {
            ++begins[low_bits(entry >> shift, bits) + 1];
        }
        for (std::size_t i = 1; i < begins.size(); ++i) {
            begins[i] += begins[i - 1];
        }
        for (const auto entry : entries) {
            other[begins[low_bits(entry >> shift, bits)]++] = entry;
        }
        std::swap(entries, other);
    }
    const auto kept = ~((std::uint64_t{1} << (64 - hash_bits)) - 1) | kBlockMask;
    const auto end = std::unique(
        entries.begin(), entries.end(), [&](auto a, auto b) { return (a & kept) == (b & kept); });
    entries.erase(end, entries.end());
    return entries;
}

HashedTokens::Encoded HashedTokens::encode(TextShape& shape) && {
    Encoded encoded;
    shape.hashes_dropped = dropped_;
    if (dropped_ || size_ == 0) {
        return encoded;
    }
    shape.hash_bits = std::min<unsigned>(
        kHashBitsMax, static_cast<unsigned>(std::bit_width(size_)) + kExtraHashBits);
    const auto entries = sorted_entries(shape.hash_bits);
    shape.hashed = entries.size();
    shape.bucket_bits = static_cast<unsigned>(
        std::bit_width(std::max<std::uint64_t>(1, entries.size() / kBucketEntries)) - 1);
    const auto rest_bits = shape.hash_bits - shape.bucket_bits;
    const auto block_bits = block_bits_of(rows_);
    auto at = entries.begin();
    for (std::uint64_t bucket = 0; bucket < std::uint64_t{1} << shape.bucket_bits; ++bucket) {
        const auto end = std::find_if(at, entries.end(), [&](std::uint64_t entry) {
            return entry >> (64 - shape.hash_bits) >> rest_bits != bucket;
        });
        const auto count = static_cast<std::uint64_t>(end - at);
        const auto begin_bytes = encoded.table.size();
        if (count > 0) {
            const auto k = rice_parameter(static_cast<double>(std::uint64_t{1} << rest_bits) /
                                          static_cast<double>(count));
            encoded.table.push_back(static_cast<std::byte>(k));
            BitWriter writer(encoded.table);
            std::uint64_t before = 0;
            for (; at != end; ++at) {
                const auto rest = low_bits(*at >> (64 - shape.hash_bits), rest_bits);
                writer.put_unary((rest - before) >> k);
                writer.put(low_bits(rest - before, k), k);
                writer.put(*at & kBlockMask, block_bits);
                before = rest;
            }
            writer.flush();
        }
        append_varint(encoded.index, count);
        append_varint(encoded.index, encoded.table.size() - begin_bytes);
    }
    return encoded;
}

Result<HashBucket> find_hash_bucket(Bytes index, const TextShape& shape, std::uint64_t hash) {
    const auto wanted = shape.bucket_bits == 0 ? 0 : hash >> (64 - shape.bucket_bits);
    ByteReader in(index);
    HashBucket bucket;
    for (std::uint64_t i = 0; i <= wanted && in.ok(); ++i) {
        bucket.begin = bucket.end;
        bucket.entries = in.varint(shape.hashed);
        bucket.end += in.varint(UINT32_MAX);
    }
    if (!in.ok()) {
        return corrupt();
    }
    return bucket;
}

Result<RowSet> find_hashed_rows(Bytes bytes,
                                std::uint64_t entries,
                                const TextShape& shape,
                                std::uint64_t hash,
                                std::uint32_t rows) {
    if (entries == 0) {
        return RowSet::none(rows);
    }
    if (bytes.empty() || std::to_integer<unsigned>(bytes[0]) > 31 || entries > bytes.size() * 8) {
        return corrupt();
    }
    const auto k = std::to_integer<unsigned>(bytes[0]);
    const auto rest_bits = shape.hash_bits - shape.bucket_bits;
    const auto wanted = low_bits(hash >> (64 - shape.hash_bits), rest_bits);
    const auto block_bits = block_bits_of(rows);
    BitReader reader(bytes.subspan(1));
    std::vector<RowRange> ranges;
    std::uint64_t rest = 0;
    for (std::uint64_t i = 0; i < entries; ++i) {
        rest += reader.rice(k);
        const auto block = reader.take(block_bits);
        if (block * kHashedBlockRows >= rows || rest >> rest_bits != 0) {
            return corrupt();
        }
        const auto begin = static_cast<std::uint32_t>(block * kHashedBlockRows);
        if (rest == wanted) {
            if (!ranges.empty() && ranges.back().end > begin) {
                return corrupt();
            }
            ranges.push_back({begin, begin + std::min(kHashedBlockRows, rows - begin)});
        }
    }
    if (reader.overran() || reader.bytes_read() + 1 != bytes.size()) {
        return corrupt();
    }
    return ranges.empty() ? RowSet::none(rows) : RowSet::from_ranges(rows, ranges);
}

}  // namespace molesignal
