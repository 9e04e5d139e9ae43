#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/assert.h"

namespace molesignal {

/// The distinct terms of a field while it is indexed, with the number of rows of each: a hash table
/// with linear probing, whose slots hold terms of up to 16 bytes themselves, so that a term that
/// was seen before costs one cache line. Terms get ids in the order of their first appearance,
/// which gives common ones small ids. One thread at a time.
class TermTable {
public:
    static constexpr std::uint32_t kNoRow = UINT32_MAX;
    /// Bytes behind a term that are read and ignored.
    static constexpr std::size_t kPaddingBytes = 16;

    /// `seed` decides where terms lie, so that nobody can choose terms that all lie together.
    explicit TermTable(std::uint64_t seed);
    struct Added {
        std::uint32_t id = 0;
        bool is_again = false;  ///< The row was counted already.
    };
    /// Counts `row`, the highest so far, for `term` (not empty, with padding behind it).
    Added add(std::string_view term, std::uint32_t row);
    /// Makes a term without a row; its id.
    std::uint32_t add_name(std::string_view term);

    std::uint32_t size() const { return size_; }
    std::size_t capacity_bytes() const {
        return slots_.capacity() * sizeof(Slot) + arena_.capacity();
    }

    struct Term {
        std::string text;
        std::uint32_t id = 0;
        std::uint32_t rows = 0;
    };
    /// The terms that have rows, in the order of their bytes.
    std::vector<Term> sorted_terms() const;

private:
    struct Slot {
        std::uint64_t head = 0;  ///< The first bytes; of a long term a hash.
        std::uint64_t tail = 0;  ///< The last bytes of 9 to 16; of a long term its place.
        std::uint32_t id = 0;
        std::uint32_t bytes = 0;  ///< 0: the slot is free.
        std::uint32_t last_row = kNoRow;
        std::uint32_t rows = 0;
    };
    static_assert(sizeof(Slot) == 32);

    Slot key_of(std::string_view term) const;
    std::uint64_t hash_of(const Slot& key) const;
    bool is_same(const Slot& slot, const Slot& key, std::string_view term) const;
    void grow();
    std::string text_of(const Slot& slot) const;

    std::uint64_t seed_;
    std::vector<Slot> slots_;
    std::uint32_t size_ = 0;
    std::vector<char> arena_;  ///< The bytes of long terms.
};

/// The terms of each row in their order: ids in rows, as a stream of LEB128 numbers in chunks.
/// Common terms take a byte or two. One thread at a time.
class RowTerms {
public:
    /// The row's next term, which it has for the first time, or again.
    void add(std::uint32_t id) { put((std::uint64_t{id} + 1) << 1U); }
    void add_again(std::uint32_t id) { put((std::uint64_t{id} + 1) << 1U | kAgain); }
    /// Something that is no term stands between the terms before and behind.
    void add_gap() { put(kAgain); }
    void end_row() { put(0); }
    std::size_t capacity_bytes() const { return chunks_.size() * kChunkBytes; }

    /// Calls `on_term(row, id)` for each term of a row once, and `on_row_end(row)`, in the order
    /// they were added. `on_row_end` returns whether to go on.
    template <class OnTerm, class OnRowEnd>
    void for_each(const OnTerm& on_term, const OnRowEnd& on_row_end) const {
        for_each_value(
            [&](std::uint32_t row, std::uint64_t value) {
                if ((value & kAgain) == 0) {
                    on_term(row, static_cast<std::uint32_t>((value >> 1U) - 1));
                }
            },
            on_row_end);
    }
    /// The same with all that a row has: `on_term(id)`, `on_term_again(id)`, `on_gap()`.
    template <class OnTerm, class OnTermAgain, class OnGap, class OnRowEnd>
    void for_each_in_order(const OnTerm& on_term,
                           const OnTermAgain& on_term_again,
                           const OnGap& on_gap,
                           const OnRowEnd& on_row_end) const {
        for_each_value(
            [&](std::uint32_t, std::uint64_t value) {
                const auto id = static_cast<std::uint32_t>((value >> 1U) - 1);
                if (value == kAgain) {
                    on_gap();
                } else if ((value & kAgain) != 0) {
                    on_term_again(id);
                } else {
                    on_term(id);
                }
            },
            on_row_end);
    }

private:
    static constexpr std::uint64_t kAgain = 1;

    template <class OnValue, class OnRowEnd>
    void for_each_value(const OnValue& on_value, const OnRowEnd& on_row_end) const {
        std::uint32_t row = 0;
        for (const auto& chunk : chunks_) {
            for (const auto *at = chunk.bytes.get(), *end = at + chunk.size; at < end;) {
                std::uint64_t value = *at++;
                if (value >= 0x80) {
                    value &= 0x7fU;
                    for (unsigned shift = 7;; shift += 7) {
                        const auto byte = *at++;
                        value |= std::uint64_t{byte & 0x7fU} << shift;
                        if (byte < 0x80) {
                            break;
                        }
                    }
                }
                if (value != 0) {
                    on_value(row, value);
                } else if (!on_row_end(row++)) {
                    return;
                }
            }
        }
    }

    static constexpr std::size_t kChunkBytes = 256 * 1024;
    struct Chunk {
        std::unique_ptr<std::uint8_t[]> bytes;
        std::size_t size = 0;
    };
    void put(std::uint64_t value) {
        if (chunks_.empty() || chunks_.back().size + 10 > kChunkBytes) {
            chunks_.push_back({std::make_unique_for_overwrite<std::uint8_t[]>(kChunkBytes), 0});
        }
        auto& chunk = chunks_.back();
        auto* at = chunk.bytes.get() + chunk.size;
        for (; value >= 0x80; value >>= 7U) {
            *at++ = static_cast<std::uint8_t>(value | 0x80U);
        }
        *at++ = static_cast<std::uint8_t>(value);
        chunk.size = static_cast<std::size_t>(at - chunk.bytes.get());
    }
    std::vector<Chunk> chunks_;
};

}  // namespace molesignal
