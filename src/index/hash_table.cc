#include "index/hash_table.h"

#include <algorithm>
#include <bit>
#include <optional>

#include <xxhash.h>

#include "common/assert.h"
#include "index/coding.h"

namespace molesignal {
namespace {

constexpr unsigned kBlockBits = 24;
constexpr unsigned kStoredHashBits = 64 - kBlockBits;
static_assert(kStoredHashBits == kHashBitsMax);
constexpr std::uint64_t kBlockMask = (std::uint64_t{1} << kBlockBits) - 1;
constexpr unsigned kHashBitsMin = 30;
constexpr unsigned kExtraHashBits = 10;
/// A bucket has that many entries, or up to twice as many: some 10 KiB, less than a block that is
/// read.
constexpr std::uint64_t kBucketEntries = 2'048;

/// Bits of a block's number.
unsigned block_bits_of(std::uint64_t blocks) {
    return blocks == 0 ? 0 : static_cast<unsigned>(std::bit_width(blocks - 1));
}

std::uint64_t blocks_of(std::uint32_t rows, unsigned block_bits) {
    return (std::uint64_t{rows} + (std::uint64_t{1} << block_bits) - 1) >> block_bits;
}

std::uint64_t low_bits(std::uint64_t value, unsigned bits) {
    return value & ((std::uint64_t{1} << bits) - 1);
}

Error corrupt() {
    return Error(ErrorCode::kCorruption, "index sidecar: the hash table is not as it is written");
}

/// A bucket of a table: bytes [begin, end) of its area.
struct Bucket {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t entries = 0;
};

/// The buckets with these numbers, which ascend.
Result<std::vector<Bucket>> find_buckets(Bytes index,
                                         const HashShape& shape,
                                         std::span<const std::uint64_t> numbers) {
    ByteReader in(index);
    std::vector<Bucket> found;
    Bucket bucket;
    std::uint64_t next = 0;
    for (const auto number : numbers) {
        for (; next <= number && in.ok(); ++next) {
            bucket.begin = bucket.end;
            bucket.entries = in.varint(shape.entries);
            bucket.end += in.varint(UINT32_MAX);
        }
        found.push_back(bucket);
    }
    if (!in.ok()) {
        return corrupt();
    }
    return found;
}

/// The entries of one bucket.
class BucketReader {
public:
    static Result<BucketReader> open(Bytes bytes,
                                     std::uint64_t entries,
                                     const HashShape& shape,
                                     std::uint64_t blocks) {
        const bool is_sound = entries == 0
                                  ? bytes.empty()
                                  : !bytes.empty() && std::to_integer<unsigned>(bytes[0]) <= 31 &&
                                        entries <= bytes.size() * 8;
        if (!is_sound) {
            return corrupt();
        }
        return BucketReader(bytes, entries, shape, blocks);
    }
    /// False: there is none left.
    Result<bool> next() {
        if (left_ == 0) {
            return false;
        }
        --left_;
        rest_ += reader_.rice(k_);
        block_ = reader_.take(block_bits_);
        const bool is_end = left_ == 0;
        if (block_ >= blocks_ || rest_ >> rest_bits_ != 0 || reader_.overran() ||
            (is_end && reader_.bytes_read() + 1 != bytes_)) {
            return corrupt();
        }
        return true;
    }
    std::uint64_t rest() const { return rest_; }
    std::uint64_t block() const { return block_; }

private:
    BucketReader(Bytes bytes, std::uint64_t entries, const HashShape& shape, std::uint64_t blocks)
        : bytes_(bytes.size()),
          left_(entries),
          k_(entries == 0 ? 0 : std::to_integer<unsigned>(bytes[0])),
          rest_bits_(shape.hash_bits - shape.bucket_bits),
          blocks_(blocks),
          block_bits_(block_bits_of(blocks)),
          reader_(bytes.subspan(std::min<std::size_t>(1, bytes.size()))) {}

    std::uint64_t bytes_;
    std::uint64_t left_;
    unsigned k_;
    unsigned rest_bits_;
    std::uint64_t blocks_;
    unsigned block_bits_;
    BitReader reader_;
    std::uint64_t rest_ = 0;
    std::uint64_t block_ = 0;
};

}  // namespace

std::uint64_t id_hash(std::string_view id) {
    return XXH3_64bits(id.data(), id.size());
}

unsigned table_hash_bits(std::uint64_t entries) {
    return std::clamp(static_cast<unsigned>(std::bit_width(entries)) + kExtraHashBits,
                      kHashBitsMin,
                      kHashBitsMax);
}

HashTableEncoder::HashTableEncoder(HashShape& shape, std::uint64_t blocks)
    : shape_(shape), block_bits_(block_bits_of(blocks)) {
    shape_.entries = 0;
}

unsigned HashTableEncoder::bucket_bits(std::uint64_t entries) {
    return static_cast<unsigned>(
        std::bit_width(std::max<std::uint64_t>(1, entries / kBucketEntries)) - 1);
}

void HashTableEncoder::add(std::uint64_t hash, std::uint64_t block) {
    const auto bucket = shape_.bucket_bits == 0 ? 0 : hash >> (64 - shape_.bucket_bits);
    end_buckets(bucket);
    entries_.push_back(
        {low_bits(hash >> (64 - shape_.hash_bits), shape_.hash_bits - shape_.bucket_bits), block});
    ++shape_.entries;
}

/// Writes the buckets before `next`.
void HashTableEncoder::end_buckets(std::uint64_t next) {
    for (; bucket_ < next; ++bucket_) {
        const auto begin_bytes = table_.hashes.size();
        const auto count = entries_.size();
        if (count > 0) {
            const auto rest_bits = shape_.hash_bits - shape_.bucket_bits;
            const auto k = rice_parameter(static_cast<double>(std::uint64_t{1} << rest_bits) /
                                          static_cast<double>(count));
            table_.hashes.push_back(static_cast<std::byte>(k));
            BitWriter writer(table_.hashes);
            std::uint64_t before = 0;
            for (const auto& entry : entries_) {
                writer.put_unary((entry.rest - before) >> k);
                writer.put(low_bits(entry.rest - before, k), k);
                writer.put(entry.block, block_bits_);
                before = entry.rest;
            }
            writer.flush();
            entries_.clear();
        }
        append_varint(table_.index, count);
        append_varint(table_.index, table_.hashes.size() - begin_bytes);
    }
}

EncodedTable HashTableEncoder::finish() && {
    end_buckets(std::uint64_t{1} << shape_.bucket_bits);
    return std::move(table_);
}

HashTableBuilder::HashTableBuilder(std::uint32_t rows, unsigned pass_bits)
    : rows_(rows),
      pass_bits_(pass_bits),
      entries_max_(std::min(kEntriesMax, std::uint64_t{rows} * 8 + 1024)) {
    recent_.fill(UINT64_MAX);
}

void HashTableBuilder::add(std::uint64_t hash, std::uint32_t row) {
    if (shape_.is_dropped || (pass_bits_ > 0 && hash >> (64 - pass_bits_) != pass_)) {
        return;
    }
    const auto entry = (hash & ~kBlockMask) | row >> kIdBlockBits;
    auto& recent = recent_[entry >> (54U - pass_bits_) & 1023U];
    if (recent == entry) {
        return;
    }
    recent = entry;
    if (size_ == entries_max_) {
        shape_.is_dropped = true;
        chunks_.clear();
        return;
    }
    if (size_ % kChunkEntries == 0) {
        chunks_.push_back(std::make_unique_for_overwrite<std::uint64_t[]>(kChunkEntries));
    }
    chunks_.back()[size_++ % kChunkEntries] = entry;
}

std::size_t HashTableBuilder::capacity_bytes() const {
    return chunks_.size() * kChunkEntries * sizeof(std::uint64_t) +
           (encoder_ == nullptr ? 0 : encoder_->bytes());
}

/// The distinct entries by their upper `hash_bits`, then by block. Entries came in the order of
/// their blocks, so a stable radix sort by the hash does.
std::vector<std::uint64_t> HashTableBuilder::sorted_entries(unsigned hash_bits) {
    std::vector<std::uint64_t> entries;
    entries.reserve(size_);
    for (std::uint64_t i = 0; i < size_; ++i) {
        entries.push_back(chunks_[i / kChunkEntries][i % kChunkEntries]);
        if ((i + 1) % kChunkEntries == 0) {
            chunks_[i / kChunkEntries].reset();
        }
    }
    chunks_.clear();
    size_ = 0;
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
    for (auto& entry : entries) {
        entry &= ~((std::uint64_t{1} << (64 - hash_bits)) - 1) | kBlockMask;
    }
    const auto repeated = std::ranges::unique(entries);
    entries.erase(repeated.begin(), repeated.end());
    return entries;
}

/// Decides by the first pass's entries how exactly the table says where an id is.
void HashTableBuilder::begin_table(std::uint64_t expected,
                                   const std::vector<std::uint64_t>& entries) {
    // An id in more blocks than this is in most row groups: to say which block costs more than it
    // saves.
    constexpr std::uint64_t kManyBlocks = 4;
    constexpr std::uint32_t kLargePartRows = 8U << kWideIdBlockBits;
    std::uint64_t ids = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        ids += i == 0 || (entries[i] ^ entries[i - 1]) > kBlockMask ? 1 : 0;
    }
    const bool is_wide = rows_ >= kLargePartRows && entries.size() > ids * kManyBlocks;
    shape_.block_bits = is_wide ? kWideIdBlockBits : kIdBlockBits;
    shape_.bucket_bits = std::max(pass_bits_, HashTableEncoder::bucket_bits(expected));
    encoder_ = std::make_unique<HashTableEncoder>(shape_, blocks_of(rows_, shape_.block_bits));
}

void HashTableBuilder::end_pass() {
    const auto expected = size_ << pass_bits_;
    if (encoder_ == nullptr) {
        shape_.hash_bits = table_hash_bits(expected);
    }
    const auto entries = sorted_entries(shape_.hash_bits);
    if (encoder_ == nullptr) {
        begin_table(expected, entries);
    }
    const auto narrowed = shape_.block_bits - kIdBlockBits;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto entry = entries[i];
        const bool is_same = i > 0 && (entry ^ entries[i - 1]) >> narrowed == 0;
        if (!is_same) {
            encoder_->add(entry & ~kBlockMask, (entry & kBlockMask) >> narrowed);
        }
    }
}

bool HashTableBuilder::next_pass() {
    if (shape_.is_dropped || pass_ + 1 == std::uint64_t{1} << pass_bits_) {
        return false;
    }
    end_pass();
    ++pass_;
    recent_.fill(UINT64_MAX);
    return true;
}

EncodedTable HashTableBuilder::finish(HashShape& shape) && {
    EncodedTable encoded;
    if (!shape_.is_dropped) {
        MS_ASSERT(pass_ + 1 == std::uint64_t{1} << pass_bits_);
        end_pass();
        encoded = std::move(*encoder_).finish();
    }
    if (shape_.is_dropped || shape_.entries == 0) {
        encoded = {};
        shape_ = {.is_dropped = shape_.is_dropped};
    }
    shape = shape_;
    return encoded;
}

Result<RowSet> find_hashed_rows(const SidecarField& field,
                                AreaReader& areas,
                                std::span<const std::uint64_t> hashes,
                                std::uint32_t rows) {
    const auto& shape = field.hashes;
    if (shape.entries == 0 || hashes.empty()) {
        return RowSet::none(rows);
    }
    std::vector<std::uint64_t> wanted(hashes.begin(), hashes.end());
    std::ranges::sort(wanted);
    std::vector<std::uint64_t> numbers;
    for (const auto hash : wanted) {
        numbers.push_back(shape.bucket_bits == 0 ? 0 : hash >> (64 - shape.bucket_bits));
    }
    MS_TRY(const auto index, areas.read_all(*field.area(AreaKind::kHashIndex)));
    MS_TRY(const auto buckets, find_buckets(index, shape, numbers));
    const auto& table = *field.area(AreaKind::kHashes);
    std::vector<ByteRange> places;
    for (const auto& bucket : buckets) {
        places.push_back({bucket.begin, bucket.end});
    }
    MS_TRY_VOID(areas.fetch(table, places));
    const auto blocks = blocks_of(rows, shape.block_bits);
    std::vector<std::uint64_t> found;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        MS_TRY(const auto bytes, areas.read(table, places[i]));
        MS_TRY(auto entries, BucketReader::open(bytes, buckets[i].entries, shape, blocks));
        const auto rest =
            low_bits(wanted[i] >> (64 - shape.hash_bits), shape.hash_bits - shape.bucket_bits);
        std::optional<std::uint64_t> before;
        while (true) {
            MS_TRY(const auto more, entries.next());
            if (!more) {
                break;
            }
            if (entries.rest() != rest) {
                continue;
            }
            if (before.has_value() && *before >= entries.block()) {
                return corrupt();
            }
            before = entries.block();
            found.push_back(entries.block());
        }
    }
    std::ranges::sort(found);
    const auto repeated = std::ranges::unique(found);
    found.erase(repeated.begin(), repeated.end());
    std::vector<RowRange> ranges;
    for (const auto block : found) {
        const auto begin = block << shape.block_bits;
        const auto end = std::min<std::uint64_t>(rows, (block + 1) << shape.block_bits);
        ranges.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    }
    return ranges.empty() ? RowSet::none(rows) : RowSet::from_ranges(rows, ranges);
}

struct HashTableCursor::State {
    Bytes hashes;
    ByteReader index;
    const HashShape& shape;
    std::uint64_t blocks = 0;
    std::uint64_t next_bucket = 0;
    std::uint64_t entries = 0;
    std::optional<BucketReader> bucket;
};

HashTableCursor::HashTableCursor(Bytes hashes,
                                 Bytes index,
                                 const HashShape& shape,
                                 std::uint32_t rows)
    : state_(std::make_unique<State>(State{.hashes = hashes,
                                           .index = ByteReader(index),
                                           .shape = shape,
                                           .blocks = blocks_of(rows, shape.block_bits),
                                           .bucket = {}})) {}
HashTableCursor::~HashTableCursor() = default;
HashTableCursor::HashTableCursor(HashTableCursor&&) noexcept = default;
HashTableCursor& HashTableCursor::operator=(HashTableCursor&&) noexcept = default;

Result<bool> HashTableCursor::next() {
    auto& state = *state_;
    const auto& shape = state.shape;
    while (true) {
        if (state.bucket.has_value()) {
            MS_TRY(const auto more, state.bucket->next());
            if (more) {
                const auto bucket = state.next_bucket - 1;
                const auto rest_bits = shape.hash_bits - shape.bucket_bits;
                hash_ = (bucket << rest_bits | state.bucket->rest()) << (64 - shape.hash_bits);
                ++state.entries;
                return true;
            }
        }
        if (shape.entries == 0 || state.next_bucket == std::uint64_t{1} << shape.bucket_bits) {
            if (state.entries != shape.entries || !state.hashes.empty() ||
                state.index.left() != 0 || !state.index.ok()) {
                return corrupt();
            }
            return false;
        }
        const auto entries = state.index.varint(shape.entries);
        const auto bytes = state.index.varint(state.hashes.size());
        if (!state.index.ok()) {
            return corrupt();
        }
        MS_TRY(state.bucket,
               BucketReader::open(state.hashes.first(bytes), entries, shape, state.blocks));
        state.hashes = state.hashes.subspan(bytes);
        ++state.next_bucket;
    }
}

}  // namespace molesignal
