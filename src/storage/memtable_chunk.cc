#include "storage/memtable_chunk.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <xxhash.h>

#include "common/assert.h"

namespace molesignal {
namespace {

/// A dictionary may have a quarter of the chunk's rows; beyond that plain text is smaller and
/// faster.
constexpr std::uint32_t kRowsPerEntry = 4;
constexpr std::uint32_t kEntriesMin = 16;
/// A column with values in a quarter of the rows is dense.
constexpr std::uint32_t kRowsPerSparseValue = 4;
constexpr std::size_t kTextBlockMax = 1U << 20U;

void set_bits(std::uint64_t* bits, std::uint32_t begin, std::uint32_t end) {
    for (auto row = begin; row < end;) {
        if ((row & 63U) == 0 && end - row >= 64) {
            bits[row >> 6U] = ~std::uint64_t{0};
            row += 64;
        } else {
            bits[row >> 6U] |= std::uint64_t{1} << (row & 63U);
            ++row;
        }
    }
}

}  // namespace

MemtableColumn::MemtableColumn(std::string name,
                               FieldType type,
                               std::uint32_t capacity_rows,
                               ColumnHints hints,
                               std::uint64_t& capacity_bytes)
    : name_(std::move(name)),
      type_(type),
      encoding_(!is_variable_width(type) ? HotEncoding::kFixed
                : hints.plain            ? HotEncoding::kText
                                         : HotEncoding::kDictionary),
      capacity_rows_(capacity_rows),
      capacity_bytes_(capacity_bytes),
      sparse_(hints.sparse) {
    capacity_bytes_ += sizeof *this + name_.size();
}

void MemtableColumn::append(const BatchColumn& source,
                            std::uint32_t first,
                            std::uint32_t count,
                            std::uint32_t at) {
    MS_ASSERT(at >= rows_);
    MS_ASSERT(at + count <= capacity_rows_);
    const auto values = source.value_index(first + count) - source.value_index(first);
    if (sparse_ && (sparse_size_ + values) * kRowsPerSparseValue > capacity_rows_) {
        become_dense();
    }
    if (sparse_) {
        append_sparse(source, first, count, at);
    } else {
        append_dense(source, first, count, at);
    }
    rows_ = at + count;
}

void MemtableColumn::append_sparse(const BatchColumn& source,
                                   std::uint32_t first,
                                   std::uint32_t count,
                                   std::uint32_t at) {
    const auto begin = source.value_index(first);
    const auto values = source.value_index(first + count) - begin;
    reserve_slots(sparse_size_ + values);
    capacity_bytes_ += sparse_rows_.reserve(sparse_size_ + values, sparse_size_, capacity_rows_);
    auto* row = sparse_rows_.data() + sparse_size_;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!source.is_null(first + i)) {
            *row++ = static_cast<std::uint16_t>(at + i);
        }
    }
    put_values(source, begin, values, sparse_size_);
    sparse_size_ += values;
}

void MemtableColumn::append_dense(const BatchColumn& source,
                                  std::uint32_t first,
                                  std::uint32_t count,
                                  std::uint32_t at) {
    reserve_slots(capacity_rows_);
    const auto begin = source.value_index(first);
    const auto values = source.value_index(first + count) - begin;
    if (bits_ == nullptr && (values < count || at > rows_)) {
        make_bits(rows_);
    }
    put_nulls(rows_, at);
    if (values == count) {
        put_values(source, begin, count, at);
        if (bits_ != nullptr) {
            set_bits(bits_.get(), at, at + count);
        }
        return;
    }
    // Runs of values and of nulls.
    auto index = begin;
    for (std::uint32_t i = 0; i < count;) {
        auto end = i + 1;
        const bool null = source.is_null(first + i);
        while (end < count && source.is_null(first + end) == null) {
            ++end;
        }
        if (null) {
            put_nulls(at + i, at + end);
        } else {
            put_values(source, index, end - i, at + i);
            set_bits(bits_.get(), at + i, at + end);
            index += end - i;
        }
        i = end;
    }
}

void MemtableColumn::reserve_slots(std::uint32_t end) {
    // Dense columns ask for all their slots at once.
    const auto used = sparse_ ? sparse_size_ : rows_;
    switch (encoding_) {
        case HotEncoding::kFixed:
            capacity_bytes_ += fixed_.reserve(end, used, capacity_rows_);
            break;
        case HotEncoding::kText:
            capacity_bytes_ += spans_.reserve(end, used, capacity_rows_);
            break;
        case HotEncoding::kDictionary:
            capacity_bytes_ += codes_.reserve(end, used, capacity_rows_);
            break;
    }
}

/// Null rows keep a value that is safe to read.
void MemtableColumn::put_nulls(std::uint32_t begin, std::uint32_t end) {
    switch (encoding_) {
        case HotEncoding::kFixed:
            std::fill(fixed_.data() + begin, fixed_.data() + end, 0);
            break;
        case HotEncoding::kText:
            std::fill(spans_.data() + begin, spans_.data() + end, TextSpan{});
            break;
        case HotEncoding::kDictionary:
            std::fill(codes_.data() + begin, codes_.data() + end, 0);
            break;
    }
}

void MemtableColumn::put_values(const BatchColumn& source,
                                std::uint32_t index,
                                std::uint32_t count,
                                std::uint32_t slot) {
    if (encoding_ == HotEncoding::kFixed) {
        std::copy_n(source.fixed_values().data() + index, count, fixed_.data() + slot);
        return;
    }
    if (encoding_ == HotEncoding::kText) {
        put_plain(source, index, count, slot);
        return;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto code = code_of(source.text_at(index + i));
        if (code == kNoCode) {
            give_up_dictionary(slot + i);
            put_plain(source, index + i, count - i, slot + i);
            return;
        }
        codes_.data()[slot + i] = static_cast<std::uint16_t>(code);
    }
}

void MemtableColumn::put_plain(const BatchColumn& source,
                               std::uint32_t index,
                               std::uint32_t count,
                               std::uint32_t slot) {
    if (count == 0) {
        return;
    }
    const auto& ends = source.ends();
    auto begin = index == 0 ? 0 : ends[index - 1];
    const auto bytes = ends[index + count - 1] - begin;
    auto* text = reserve_text(bytes);
    if (bytes > 0) {
        std::memcpy(text, source.text_bytes().data() + begin, bytes);
    }
    auto* spans = spans_.data() + slot;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto size = ends[index + i] - begin;
        spans[i] = TextSpan{.data = text, .size = size};
        text += size;
        begin += size;
    }
}

void MemtableColumn::become_dense() {
    const auto values = sparse_size_;
    const auto* rows = sparse_rows_.data();
    const auto* fixed = fixed_.data();
    const auto* spans = spans_.data();
    const auto* codes = codes_.data();
    make_bits(0);
    switch (encoding_) {
        case HotEncoding::kFixed:
            capacity_bytes_ += fixed_.renew(capacity_rows_);
            break;
        case HotEncoding::kText:
            capacity_bytes_ += spans_.renew(capacity_rows_);
            break;
        case HotEncoding::kDictionary:
            capacity_bytes_ += codes_.renew(capacity_rows_);
            break;
    }
    put_nulls(0, rows_);
    for (std::uint32_t i = 0; i < values; ++i) {
        const auto row = rows[i];
        bits_[row >> 6U] |= std::uint64_t{1} << (row & 63U);
        switch (encoding_) {
            case HotEncoding::kFixed:
                fixed_.data()[row] = fixed[i];
                break;
            case HotEncoding::kText:
                spans_.data()[row] = spans[i];
                break;
            case HotEncoding::kDictionary:
                codes_.data()[row] = codes[i];
                break;
        }
    }
    sparse_ = false;
}

std::uint32_t MemtableColumn::code_of(std::string_view value) {
    if (slots_.empty()) {
        grow_slots();
    }
    const auto hash = static_cast<std::uint32_t>(XXH3_64bits(value.data(), value.size()));
    const auto mask = static_cast<std::uint32_t>(slots_.size() - 1);
    auto at = hash & mask;
    for (; slots_[at].entry != 0; at = (at + 1) & mask) {
        if (slots_[at].hash == hash && entries_.data()[slots_[at].entry - 1].view() == value) {
            return slots_[at].entry - 1;
        }
    }
    const auto entries_max = std::max(kEntriesMin, capacity_rows_ / kRowsPerEntry);
    if (entries_size_ == entries_max) {
        return kNoCode;
    }
    capacity_bytes_ += entries_.reserve(entries_size_ + 1, entries_size_, entries_max);
    auto* text = reserve_text(value.size());
    if (!value.empty()) {
        std::memcpy(text, value.data(), value.size());
    }
    entries_.data()[entries_size_] =
        TextSpan{.data = text, .size = static_cast<std::uint32_t>(value.size())};
    slots_[at] = {.hash = hash, .entry = ++entries_size_};
    if (entries_size_ * 2 > slots_.size()) {
        grow_slots();
    }
    return entries_size_ - 1;
}

void MemtableColumn::grow_slots() {
    constexpr std::size_t kSlotsMin = 16;
    std::vector<Slot> slots(std::max(kSlotsMin, slots_.size() * 4));
    const auto mask = static_cast<std::uint32_t>(slots.size() - 1);
    for (const auto& slot : slots_) {
        if (slot.entry == 0) {
            continue;
        }
        auto to = slot.hash & mask;
        while (slots[to].entry != 0) {
            to = (to + 1) & mask;
        }
        slots[to] = slot;
    }
    capacity_bytes_ += (slots.size() - slots_.size()) * sizeof(Slot);
    slots_ = std::move(slots);
}

void MemtableColumn::give_up_dictionary(std::uint32_t slots) {
    // Codes and entries stay: a snapshot may point at them.
    encoding_ = HotEncoding::kText;
    overflowed_ = true;
    capacity_bytes_ += spans_.renew(codes_.capacity());
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
        spans_.data()[slot] = entries_.data()[codes_.data()[slot]];
    }
    capacity_bytes_ -= slots_.size() * sizeof(Slot);
    slots_ = {};
}

char* MemtableColumn::reserve_text(std::size_t bytes) {
    if (bytes > block_left_) {
        const auto size = std::max(bytes, block_next_);
        block_next_ = std::min(block_next_ * 4, kTextBlockMax);
        blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
        capacity_bytes_ += size;
        block_at_ = blocks_.back().get();
        block_left_ = size;
    }
    auto* at = block_at_;
    block_at_ += bytes;
    block_left_ -= bytes;
    return at;
}

void MemtableColumn::make_bits(std::uint32_t valid_rows) {
    const auto words = (capacity_rows_ + 63U) / 64U;
    bits_ = std::make_unique<std::uint64_t[]>(words);
    capacity_bytes_ += words * sizeof(std::uint64_t);
    set_bits(bits_.get(), 0, valid_rows);
}

void MemtableColumn::seal() {
    capacity_bytes_ -= slots_.size() * sizeof(Slot);
    slots_ = {};
}

HotColumnView MemtableColumn::view(
    std::vector<std::unique_ptr<std::uint64_t[]>>* copied_bits) const {
    HotColumnView view;
    view.name = name_;
    view.type = type_;
    view.encoding = encoding_;
    view.rows = rows_;
    view.fixed = fixed_.data();
    view.codes = codes_.data();
    view.spans = encoding_ == HotEncoding::kDictionary ? entries_.data() : spans_.data();
    view.dictionary_size = encoding_ == HotEncoding::kDictionary ? entries_size_ : 0;
    if (sparse_) {
        view.sparse_rows = sparse_rows_.data();
        view.sparse_size = sparse_size_;
        return view;
    }
    view.valid = bits_.get();
    if (bits_ != nullptr && copied_bits != nullptr) {
        const auto words = (rows_ + 63U) / 64U;
        auto copy = std::make_unique_for_overwrite<std::uint64_t[]>(words);
        std::copy_n(bits_.get(), words, copy.get());
        view.valid = copy.get();
        copied_bits->push_back(std::move(copy));
    }
    return view;
}

MemtableChunk::MemtableChunk(ShardId shard, Position first_position, std::uint32_t capacity_rows)
    : shard_(shard),
      first_position_(first_position),
      capacity_rows_(capacity_rows),
      capacity_bytes_(capacity_rows * sizeof(std::int64_t)),
      timestamps_(std::make_unique_for_overwrite<std::int64_t[]>(capacity_rows)) {
    MS_ASSERT(capacity_rows <= HotChunk::kRowsMax);
}

MemtableColumn& MemtableChunk::column(std::size_t field,
                                      const std::string& name,
                                      FieldType type,
                                      ColumnHints hints) {
    if (columns_.size() <= field) {
        columns_.resize(field + 1);
    }
    if (columns_[field] == nullptr) {
        columns_[field] =
            std::make_unique<MemtableColumn>(name, type, capacity_rows_, hints, capacity_bytes_);
    }
    return *columns_[field];
}

void MemtableChunk::append_timestamps(const std::int64_t* values, std::uint32_t count) {
    MS_ASSERT(count <= room());
    for (std::uint32_t i = 0; i < count; ++i) {
        timestamps_[rows_ + i] = values[i];
        time_min_ns_ = std::min(time_min_ns_, values[i]);
        time_max_ns_ = std::max(time_max_ns_, values[i]);
    }
    rows_ += count;
}

void MemtableChunk::seal() {
    for (auto& column : columns_) {
        if (column != nullptr) {
            column->seal();
        }
    }
}

HotChunk MemtableChunk::view(bool sealed) const {
    struct Owner {
        std::shared_ptr<const MemtableChunk> chunk;
        std::vector<std::unique_ptr<std::uint64_t[]>> bits;
    };
    auto owner = std::make_shared<Owner>();
    owner->chunk = shared_from_this();
    HotChunk view;
    view.shard = shard_;
    view.first_position = first_position_;
    view.rows = rows_;
    view.timestamps = timestamps_.get();
    view.time_min_ns = time_min_ns_;
    view.time_max_ns = time_max_ns_;
    for (const auto& column : columns_) {
        if (column != nullptr) {
            // The writer sets later bits in words that this view reads: an open chunk's bits are
            // copied.
            view.columns.push_back(column->view(sealed ? nullptr : &owner->bits));
        }
    }
    view.owner = std::move(owner);
    return view;
}

}  // namespace molesignal
