#include "index/text/term_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <xxhash.h>

namespace molesignal {
namespace {

constexpr std::size_t kSlotsMin = 1U << 12U;
constexpr std::size_t kInlineBytes = 16;

std::uint64_t load_word(const char* at) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
}

}  // namespace

TermTable::TermTable(std::uint64_t seed) : seed_(seed), slots_(kSlotsMin) {}

TermTable::Slot TermTable::key_of(std::string_view term) const {
    Slot key{.bytes = static_cast<std::uint32_t>(term.size())};
    if (term.size() < 8) {
        key.head = load_word(term.data()) & ((std::uint64_t{1} << term.size() * 8) - 1);
    } else if (term.size() <= kInlineBytes) {
        key.head = load_word(term.data());
        key.tail = load_word(term.data() + term.size() - 8);
    } else {
        key.head = XXH3_64bits_withSeed(term.data(), term.size(), seed_);
    }
    return key;
}

std::uint64_t TermTable::hash_of(const Slot& key) const {
    // A multiplication folds both words (as in wyhash); the constants are digits of pi and e.
    const auto tail = key.bytes <= kInlineBytes ? key.tail : 0;
    const auto product =
        static_cast<unsigned __int128>(key.head ^ 0x243f6a8885a308d3ULL ^ seed_) *
        (tail ^ 0xb7e151628aed2a6bULL ^ std::rotl(seed_, 29) ^ std::uint64_t{key.bytes} << 56U);
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

bool TermTable::is_same(const Slot& slot, const Slot& key, std::string_view term) const {
    if (slot.head != key.head || slot.bytes != key.bytes) {
        return false;
    }
    return key.bytes <= kInlineBytes
               ? slot.tail == key.tail
               : std::memcmp(arena_.data() + slot.tail, term.data(), term.size()) == 0;
}

TermTable::Added TermTable::add(std::string_view term, std::uint32_t row) {
    MS_DCHECK(!term.empty());
    auto key = key_of(term);
    const auto mask = slots_.size() - 1;
    auto* slots = slots_.data();
    for (auto at = hash_of(key) & mask;; at = (at + 1) & mask) {
        auto& slot = slots[at];
        if (slot.bytes != 0) {
            if (!is_same(slot, key, term)) {
                continue;
            }
            const bool is_again = slot.last_row == row;
            slot.last_row = row;
            slot.rows += is_again ? 0 : 1;
            return {.id = slot.id, .is_again = is_again};
        }
        key.id = size_;
        key.last_row = row;
        key.rows = row == kNoRow ? 0 : 1;
        if (key.bytes > kInlineBytes) {
            key.tail = arena_.size();
            arena_.insert(arena_.end(), term.begin(), term.end());
        }
        slot = key;
        ++size_;
        if (std::size_t{size_} * 2 > slots_.size()) {
            grow();
        }
        return {.id = key.id};
    }
}

std::uint32_t TermTable::add_name(std::string_view term) {
    auto padded = std::string(term);
    padded.append(kPaddingBytes, '\0');
    return add(std::string_view(padded).substr(0, term.size()), kNoRow).id;
}

void TermTable::grow() {
    std::vector<Slot> larger(slots_.size() * 2);
    const auto mask = larger.size() - 1;
    for (const auto& slot : slots_) {
        if (slot.bytes == 0) {
            continue;
        }
        auto at = hash_of(slot) & mask;
        while (larger[at].bytes != 0) {
            at = (at + 1) & mask;
        }
        larger[at] = slot;
    }
    slots_ = std::move(larger);
}

std::string TermTable::text_of(const Slot& slot) const {
    if (slot.bytes > kInlineBytes) {
        return {arena_.data() + slot.tail, slot.bytes};
    }
    std::string text(slot.bytes, '\0');
    std::memcpy(text.data(), &slot.head, std::min<std::size_t>(slot.bytes, 8));
    if (slot.bytes > 8) {
        std::memcpy(text.data() + slot.bytes - 8, &slot.tail, 8);
    }
    return text;
}

std::vector<TermTable::Term> TermTable::sorted_terms() const {
    std::vector<Term> terms;
    terms.reserve(size_);
    for (const auto& slot : slots_) {
        if (slot.rows > 0) {
            terms.push_back({text_of(slot), slot.id, slot.rows});
        }
    }
    std::ranges::sort(terms, {}, &Term::text);
    return terms;
}

}  // namespace molesignal
