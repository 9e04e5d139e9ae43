#include "storage/memtable.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "storage/memtable_chunk.h"

namespace molesignal {
namespace {

/// After a dictionary overflowed: this many chunks of plain text before the next try.
constexpr std::uint32_t kPlainChunks = 16;

/// Whether float64 holds every integer of the column exactly.
bool is_exact_as_float(const BatchColumn& column) {
    constexpr std::uint64_t kSafe = 1ULL << 53U;
    for (const auto bits : column.fixed_values()) {
        if (column.type() == FieldType::kUint64) {
            if (bits > kSafe && (bits & ((1ULL << 11U) - 1)) != 0) {
                return false;
            }
            continue;
        }
        const auto value = static_cast<std::int64_t>(bits);
        if (bits + kSafe > 2 * kSafe) {
            const auto real = static_cast<double>(value);
            if (real >= 0x1p63 || static_cast<std::int64_t>(real) != value) {
                return false;
            }
        }
    }
    return true;
}

/// Small streams get small chunks first: the arrays of a chunk are allocated at once.
std::uint32_t capacity_of_chunk(std::size_t chunks_before) {
    constexpr std::array<std::uint32_t, 4> kCapacities = {256, 1024, 4096, HotChunk::kRowsMax};
    return kCapacities[std::min(chunks_before, kCapacities.size() - 1)];
}

}  // namespace

Memtable::Memtable(ShardId shard, Position begin) : shard_(shard), begin_(begin), end_(begin) {}
Memtable::~Memtable() = default;

void Memtable::append(const RowBatch& batch, std::uint64_t raw_bytes) {
    note_fields(batch);
    raw_bytes_ += raw_bytes;
    for (std::uint32_t first = 0; first < batch.rows();) {
        auto& chunk = open_chunk();
        const auto count = std::min(chunk.room(), batch.rows() - first);
        const auto before = chunk.capacity_bytes();
        append_rows(batch, first, count, chunk);
        capacity_bytes_ += chunk.capacity_bytes() - before;
        first += count;
    }
}

MemtableChunk& Memtable::open_chunk() {
    if (open_ != nullptr && open_->room() > 0) {
        return *open_;
    }
    auto chunks = sealed_.size();
    if (open_ != nullptr) {
        for (std::size_t field = 0; field < open_->columns().size(); ++field) {
            const auto& column = open_->columns()[field];
            auto& left = plain_chunks_left_[field];
            if (column != nullptr && column->overflowed()) {
                left = kPlainChunks;
            } else if (left > 0) {
                --left;
            }
        }
        sealed_.push_back(open_->view(true));
        ++chunks;
    }
    open_ = std::make_shared<MemtableChunk>(shard_, end_, capacity_of_chunk(chunks));
    capacity_bytes_ += open_->capacity_bytes();
    return *open_;
}

void Memtable::append_rows(const RowBatch& batch,
                           std::uint32_t first,
                           std::uint32_t count,
                           MemtableChunk& chunk) {
    const auto at = chunk.rows();
    for (std::size_t i = 0; i < batch.columns.size(); ++i) {
        const auto& source = batch.columns[i];
        const auto field = field_of_column_[i];
        chunk.column(field, source.name(), source.type(), plain_chunks_left_[field] > 0)
            .append(source, first, count, at);
    }
    chunk.append_timestamps(batch.timestamps.data() + first, count);
    end_.value += count;
}

void Memtable::note_fields(const RowBatch& batch) {
    field_of_column_.resize(batch.columns.size());
    for (std::size_t i = 0; i < batch.columns.size(); ++i) {
        const auto& column = batch.columns[i];
        MS_ASSERT(column.rows() == batch.rows());
        const auto matches = [&column](const Field& field) {
            return field.type == column.type() && field.name == column.name();
        };
        auto guess = field_of_column_[i];
        if (guess >= fields_.size() || !matches(fields_[guess])) {
            guess =
                static_cast<std::size_t>(std::ranges::find_if(fields_, matches) - fields_.begin());
        }
        if (guess == fields_.size()) {
            fields_.push_back(
                {.name = column.name(), .type = column.type(), .inexact_as_float = false});
            plain_chunks_left_.push_back(0);
        }
        field_of_column_[i] = guess;
        auto& field = fields_[guess];
        if ((field.type == FieldType::kInt64 || field.type == FieldType::kUint64) &&
            !field.inexact_as_float) {
            field.inexact_as_float = !is_exact_as_float(column);
        }
    }
}

std::vector<HotChunk> Memtable::snapshot() const {
    auto chunks = sealed_;
    if (open_ != nullptr && open_->rows() > 0) {
        chunks.push_back(open_->view(false));
    }
    return chunks;
}

}  // namespace molesignal
