#include "storage/memtable_chunk.h"

#include <algorithm>
#include <cstring>

#include <xxhash.h>

#include "common/assert.h"

namespace molesignal {
namespace {

/// A dictionary may have a quarter of the chunk's rows; beyond that plain text is smaller and
/// faster.
constexpr std::uint32_t kRowsPerEntry = 4;
constexpr std::size_t kTextBlockMax = 1U << 20U;

}  // namespace

MemtableColumn::MemtableColumn(std::string name,
                               FieldType type,
                               std::uint32_t capacity_rows,
                               bool plain,
                               std::uint64_t& capacity_bytes)
    : name_(std::move(name)),
      type_(type),
      encoding_(!is_variable_width(type) ? HotEncoding::kFixed
                : plain                  ? HotEncoding::kText
                                         : HotEncoding::kDictionary),
      capacity_rows_(capacity_rows),
      capacity_bytes_(capacity_bytes) {
    switch (encoding_) {
        case HotEncoding::kFixed:
            fixed_ = std::make_unique_for_overwrite<std::uint64_t[]>(capacity_rows);
            capacity_bytes_ += capacity_rows * sizeof(std::uint64_t);
            break;
        case HotEncoding::kText:
            spans_ = std::make_unique_for_overwrite<TextSpan[]>(capacity_rows);
            capacity_bytes_ += capacity_rows * sizeof(TextSpan);
            break;
        case HotEncoding::kDictionary:
            entries_max_ = std::max<std::uint32_t>(16, capacity_rows / kRowsPerEntry);
            codes_ = std::make_unique_for_overwrite<std::uint32_t[]>(capacity_rows);
            entries_ = std::make_unique_for_overwrite<TextSpan[]>(entries_max_);
            slots_.assign(64, 0);
            slot_hashes_.assign(64, 0);
            capacity_bytes_ +=
                capacity_rows * sizeof(std::uint32_t) + entries_max_ * sizeof(TextSpan);
            break;
    }
}

void MemtableColumn::append(const BatchColumn& source,
                            std::uint32_t first,
                            std::uint32_t count,
                            std::uint32_t at) {
    MS_ASSERT(at >= rows_);
    MS_ASSERT(at + count <= capacity_rows_);
    set_validity(source, first, count, at);
    if (at > rows_) {
        // Null rows keep a value that is safe to read.
        if (encoding_ == HotEncoding::kFixed) {
            std::fill(fixed_.get() + rows_, fixed_.get() + at, 0);
        } else if (encoding_ == HotEncoding::kText) {
            std::fill(spans_.get() + rows_, spans_.get() + at, TextSpan{});
        } else {
            const auto code = code_of({});
            if (code == kNoCode) {
                give_up_dictionary();
                std::fill(spans_.get() + rows_, spans_.get() + at, TextSpan{});
            } else {
                std::fill(codes_.get() + rows_, codes_.get() + at, code);
            }
        }
        rows_ = at;
    }
    switch (encoding_) {
        case HotEncoding::kFixed:
            append_fixed(source, first, count, at);
            break;
        case HotEncoding::kText:
            append_plain(source, first, count, at);
            break;
        case HotEncoding::kDictionary:
            append_coded(source, first, count, at);
            break;
    }
    rows_ = at + count;
}

void MemtableColumn::append_fixed(const BatchColumn& source,
                                  std::uint32_t first,
                                  std::uint32_t count,
                                  std::uint32_t at) {
    std::memcpy(
        fixed_.get() + at, source.fixed_values().data() + first, count * sizeof(std::uint64_t));
}

void MemtableColumn::append_plain(const BatchColumn& source,
                                  std::uint32_t first,
                                  std::uint32_t count,
                                  std::uint32_t at) {
    const auto& ends = source.ends();
    auto begin = first == 0 ? 0 : ends[first - 1];
    const auto bytes = ends[first + count - 1] - begin;
    auto* text = reserve_text(bytes);
    if (bytes > 0) {
        std::memcpy(text, source.text_bytes().data() + begin, bytes);
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto size = ends[first + i] - begin;
        spans_[at + i] = TextSpan{.data = text, .size = size};
        text += size;
        begin += size;
    }
}

void MemtableColumn::append_coded(const BatchColumn& source,
                                  std::uint32_t first,
                                  std::uint32_t count,
                                  std::uint32_t at) {
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto code = code_of(source.text(first + i));
        if (code == kNoCode) {
            rows_ = at + i;
            give_up_dictionary();
            append_plain(source, first + i, count - i, at + i);
            return;
        }
        codes_[at + i] = code;
    }
}

std::uint32_t MemtableColumn::code_of(std::string_view value) {
    const auto hash = static_cast<std::uint32_t>(XXH3_64bits(value.data(), value.size()));
    auto mask = static_cast<std::uint32_t>(slots_.size() - 1);
    auto slot = hash & mask;
    for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
        if (slot_hashes_[slot] == hash && entries_[slots_[slot] - 1].view() == value) {
            return slots_[slot] - 1;
        }
    }
    if (entries_size_ == entries_max_) {
        return kNoCode;
    }
    auto* text = reserve_text(value.size());
    if (!value.empty()) {
        std::memcpy(text, value.data(), value.size());
    }
    entries_[entries_size_] =
        TextSpan{.data = text, .size = static_cast<std::uint32_t>(value.size())};
    slots_[slot] = ++entries_size_;
    slot_hashes_[slot] = hash;
    if (entries_size_ * 2 > slots_.size()) {
        std::vector<std::uint32_t> slots(slots_.size() * 4, 0);
        std::vector<std::uint32_t> hashes(slots.size(), 0);
        mask = static_cast<std::uint32_t>(slots.size() - 1);
        for (std::size_t i = 0; i < slots_.size(); ++i) {
            if (slots_[i] == 0) {
                continue;
            }
            auto to = slot_hashes_[i] & mask;
            while (slots[to] != 0) {
                to = (to + 1) & mask;
            }
            slots[to] = slots_[i];
            hashes[to] = slot_hashes_[i];
        }
        slots_ = std::move(slots);
        slot_hashes_ = std::move(hashes);
    }
    return entries_size_ - 1;
}

void MemtableColumn::give_up_dictionary() {
    spans_ = std::make_unique_for_overwrite<TextSpan[]>(capacity_rows_);
    capacity_bytes_ += capacity_rows_ * sizeof(TextSpan);
    for (std::uint32_t row = 0; row < rows_; ++row) {
        spans_[row] = entries_[codes_[row]];
    }
    // codes_ and entries_ stay: a snapshot may point at them.
    encoding_ = HotEncoding::kText;
    overflowed_ = true;
    slots_ = {};
    slot_hashes_ = {};
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
    for (std::uint32_t row = 0; row < valid_rows; ++row) {
        bits_[row >> 6U] |= std::uint64_t{1} << (row & 63U);
    }
}

void MemtableColumn::set_validity(const BatchColumn& source,
                                  std::uint32_t first,
                                  std::uint32_t count,
                                  std::uint32_t at) {
    const bool has_nulls = source.null_count() != 0;
    if (bits_ == nullptr) {
        if (!has_nulls && at == rows_) {
            return;
        }
        make_bits(rows_);
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!source.is_null(first + i)) {
            bits_[(at + i) >> 6U] |= std::uint64_t{1} << ((at + i) & 63U);
        }
    }
}

HotColumnView MemtableColumn::view(
    std::vector<std::unique_ptr<std::uint64_t[]>>* copied_bits) const {
    HotColumnView view;
    view.name = name_;
    view.type = type_;
    view.encoding = encoding_;
    view.rows = rows_;
    view.fixed = fixed_.get();
    view.valid = bits_.get();
    if (bits_ != nullptr && copied_bits != nullptr) {
        const auto words = (rows_ + 63U) / 64U;
        auto copy = std::make_unique_for_overwrite<std::uint64_t[]>(words);
        std::copy_n(bits_.get(), words, copy.get());
        view.valid = copy.get();
        copied_bits->push_back(std::move(copy));
    }
    if (encoding_ == HotEncoding::kDictionary) {
        view.spans = entries_.get();
        view.codes = codes_.get();
        view.dictionary_size = entries_size_;
    } else {
        view.spans = spans_.get();
    }
    return view;
}

MemtableChunk::MemtableChunk(ShardId shard, Position first_position, std::uint32_t capacity_rows)
    : shard_(shard),
      first_position_(first_position),
      capacity_rows_(capacity_rows),
      capacity_bytes_(capacity_rows * sizeof(std::int64_t)),
      timestamps_(std::make_unique_for_overwrite<std::int64_t[]>(capacity_rows)) {}

MemtableColumn& MemtableChunk::column(std::size_t field,
                                      const std::string& name,
                                      FieldType type,
                                      bool plain) {
    if (columns_.size() <= field) {
        columns_.resize(field + 1);
    }
    if (columns_[field] == nullptr) {
        columns_[field] =
            std::make_unique<MemtableColumn>(name, type, capacity_rows_, plain, capacity_bytes_);
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
