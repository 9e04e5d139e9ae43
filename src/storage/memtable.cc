#include "storage/memtable.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "storage/memtable_chunk.h"

namespace molesignal {
namespace {

/// After a dictionary overflowed: this many chunks of plain text before the next try.
constexpr std::uint32_t kPlainChunks = 16;
/// A chunk of fewer rows says nothing of the next: the first has room for 64 entries only.
constexpr std::uint32_t kJudgingRows = 4096;

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

/// Small streams get small chunks first, and so do streams with many columns: the arrays of a dense
/// column are allocated at once.
std::uint32_t capacity_of_chunk(std::size_t chunks_before, std::size_t dense_columns) {
    constexpr std::array<std::uint32_t, 4> kCapacities = {256, 1024, 4096, HotChunk::kRowsMax};
    constexpr std::size_t kCellsMax = 1U << 20U;
    const auto by_columns = kCellsMax / std::max<std::size_t>(1, dense_columns);
    return std::min(kCapacities[std::min(chunks_before, kCapacities.size() - 1)],
                    std::max(kCapacities[0], static_cast<std::uint32_t>(by_columns)));
}

/// A field with values in fewer rows than one of so many begins sparse.
constexpr std::uint32_t kRowsPerSparseValue = 8;

std::string field_key(std::string_view name, FieldType type) {
    std::string key(name);
    key.push_back(static_cast<char>(type));
    return key;
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
    std::size_t dense_columns = 0;
    if (open_ != nullptr) {
        for (std::size_t field = 0; field < open_->columns().size(); ++field) {
            const auto& column = open_->columns()[field];
            auto& state = states_[field];
            if (column != nullptr && column->overflowed() && open_->rows() >= kJudgingRows) {
                state.plain_chunks_left = kPlainChunks;
            } else if (state.plain_chunks_left > 0) {
                --state.plain_chunks_left;
            }
            if (column != nullptr) {
                state.sparse = column->is_sparse();
                dense_columns += column->is_sparse() ? 0 : 1;
            }
        }
        const auto before = open_->capacity_bytes();
        open_->seal();
        capacity_bytes_ -= before - open_->capacity_bytes();
        sealed_.push_back(open_->view(true));
    }
    open_ = std::make_shared<MemtableChunk>(
        shard_, end_, capacity_of_chunk(sealed_.size(), dense_columns));
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
        const auto values = source.value_index(first + count) - source.value_index(first);
        if (values == 0) {
            continue;
        }
        const auto field = field_of_column_[i];
        const bool few = values * kRowsPerSparseValue < at + count;
        chunk
            .column(field,
                    source.name(),
                    source.type(),
                    {.plain = states_[field].plain_chunks_left > 0,
                     .sparse = few || states_[field].sparse})
            .append(source, first, count, at);
    }
    chunk.append_timestamps(batch.timestamps.data() + first, count);
    end_.value += count;
}

std::size_t Memtable::field_of(const BatchColumn& column, std::size_t guess) {
    if (guess < fields_.size() && fields_[guess].type == column.type() &&
        fields_[guess].name == column.name()) {
        return guess;
    }
    const auto [found, is_new] =
        index_.try_emplace(field_key(column.name(), column.type()), fields_.size());
    if (is_new) {
        fields_.push_back(
            {.name = column.name(), .type = column.type(), .inexact_as_float = false});
        states_.emplace_back();
    }
    return found->second;
}

void Memtable::note_fields(const RowBatch& batch) {
    field_of_column_.resize(batch.columns.size());
    for (std::size_t i = 0; i < batch.columns.size(); ++i) {
        const auto& column = batch.columns[i];
        MS_ASSERT(column.rows() == batch.rows());
        field_of_column_[i] = field_of(column, field_of_column_[i]);
        auto& field = fields_[field_of_column_[i]];
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
