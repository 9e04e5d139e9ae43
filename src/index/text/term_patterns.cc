#include "index/text/term_patterns.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <optional>

#include "common/assert.h"
#include "index/coding.h"
#include "index/sidecar_format.h"

namespace molesignal {
namespace {

constexpr std::uint32_t kRowsOfCommonMin = 16;
constexpr std::uint32_t kCommonShare = 64;
constexpr unsigned kCoarserSteps = 5;
/// What a pattern costs beyond its row set: its entry and the byte that rounds its bits up.
constexpr double kPatternBytes = 5;
/// A pattern's number in the list of one of its terms.
constexpr double kPatternTermBytes = 1.2;
/// An item of a pattern's sequence, and its length.
constexpr double kSequenceItemBytes = 1.1;
/// Order may cost such a share of all lists; or so many bytes.
constexpr double kOrderShare = 1.0 / 3;
constexpr double kOrderBytes = 16'384;
/// More orders than that cost too much before they are counted.
constexpr std::size_t kOrdersMax = 1U << 14U;
/// Longer sequences end with kAnything.
constexpr std::size_t kSequenceItemsMax = 64;

using Terms = std::vector<std::uint16_t>;

/// A set of terms as two sums of random numbers, so that the order of the terms does not matter.
struct SetKey {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    friend bool operator==(const SetKey&, const SetKey&) = default;
};

std::uint64_t mix(std::uint64_t value) {
    value = (value ^ value >> 30U) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ value >> 27U) * 0x94d049bb133111ebULL;
    return value ^ value >> 31U;
}

/// Finds sets by their keys and numbers them in the order of their first appearance.
class SetNumbers {
public:
    SetNumbers() : slots_(1024) {}
    /// The number of `key`; size() before the call if it is new.
    std::uint32_t number_of(const SetKey& key) {
        auto at = find(slots_, key);
        if (slots_[at].number == kFree) {
            if (std::size_t{size_} * 2 >= slots_.size()) {
                grow();
                at = find(slots_, key);
            }
            slots_[at] = {key, size_};
            return size_++;
        }
        return slots_[at].number;
    }
    std::uint32_t size() const { return size_; }

private:
    static constexpr std::uint32_t kFree = UINT32_MAX;
    struct Slot {
        SetKey key;
        std::uint32_t number = kFree;
    };
    static std::size_t find(const std::vector<Slot>& slots, const SetKey& key) {
        const auto mask = slots.size() - 1;
        auto at = key.first & mask;
        while (slots[at].number != kFree && slots[at].key != key) {
            at = (at + 1) & mask;
        }
        return at;
    }
    void grow() {
        std::vector<Slot> larger(slots_.size() * 2);
        for (const auto& slot : slots_) {
            if (slot.number != kFree) {
                larger[find(larger, slot.key)] = slot;
            }
        }
        slots_ = std::move(larger);
    }
    std::vector<Slot> slots_;
    std::uint32_t size_ = 0;
};

/// The common terms of a row or pattern in their order, as TermPatterns::sequences has them.
class Sequence {
public:
    void clear() {
        size_ = 0;
        has_gap_ = false;
        is_full_ = false;
    }
    void add_gap() { has_gap_ = true; }
    void add(std::uint16_t place) {
        if (is_full_) {
            return;
        }
        items_[size_] = TermPatterns::kGap;
        size_ += has_gap_ && size_ > 0 ? 1 : 0;
        has_gap_ = false;
        items_[size_++] = static_cast<std::uint16_t>(TermPatterns::kFirstPlace + place);
        if (size_ >= kSequenceItemsMax) {
            add_anything();
        }
    }
    void add_anything() {
        if (!is_full_) {
            items_[size_++] = TermPatterns::kAnything;
            is_full_ = true;
        }
    }
    std::span<const std::uint16_t> items() const { return std::span(items_).first(size_); }
    /// Two chains of steps that the processor takes side by side.
    void add_to(SetKey& key) const {
        std::uint64_t first = 0x452821e638d01377ULL;
        std::uint64_t second = 0xbe5466cf34e90c6cULL;
        for (const auto item : items()) {
            first = (first ^ item) * 0x9e3779b97f4a7c15ULL;
            second = std::rotl(second, 7) + (item + 1ULL) * 0xd6e8feb86659fd93ULL;
        }
        key.first += mix(first);
        key.second += mix(second);
    }

private:
    std::array<std::uint16_t, kSequenceItemsMax + 2> items_;  ///< A gap and a term, then kAnything.
    std::size_t size_ = 0;
    bool has_gap_ = false;
    bool is_full_ = false;
};

/// Rows grouped by their sets of common terms, or by these in their order.
struct Grouping {
    std::vector<std::uint16_t> common;         ///< By term id.
    std::vector<std::uint32_t> common_counts;  ///< Rows of each common term.
    std::vector<Terms> sets;
    std::vector<Terms> sequences;  ///< Of each set, if it is by order.
    std::vector<std::uint32_t> set_counts;
    std::vector<std::uint32_t> set_of_row;
};

/// Groups rows by the terms that many have, or by these in their order.
template <bool kByOrder>
class RowGrouper {
public:
    /// Terms of at least `rows_min` rows are common; false: they are too many.
    bool choose_terms(std::span<const std::uint32_t> row_counts, std::uint64_t rows_min) {
        grouping_.common.assign(row_counts.size(), TermPatterns::kNotCommon);
        for (std::size_t id = 0; id < row_counts.size(); ++id) {
            if (row_counts[id] >= rows_min) {
                if (keys_.size() + TermPatterns::kFirstPlace == TermPatterns::kNotCommon) {
                    return false;
                }
                grouping_.common[id] = static_cast<std::uint16_t>(keys_.size());
                grouping_.common_counts.push_back(row_counts[id]);
                keys_.push_back({mix(2 * id + 0x9e3779b97f4a7c15ULL), mix(2 * id + 1)});
            }
        }
        return true;
    }

    /// Nothing: there are too many sets.
    std::optional<Grouping> group(const RowTerms& row_terms, std::uint32_t rows) && {
        grouping_.set_of_row.resize(rows);
        const auto* common = grouping_.common.data();
        bool is_good = true;
        const auto end_row = [&](std::uint32_t row) { return is_good = this->end_row(row); };
        if constexpr (kByOrder) {
            row_terms.for_each_in_order(
                [&](std::uint32_t id) {
                    add_to_set(common[id]);
                    add_in_order(id, common[id]);
                },
                [&](std::uint32_t id) { add_in_order(id, common[id]); },
                [&] { sequence_.add_gap(); },
                end_row);
        } else {
            row_terms.for_each([&](std::uint32_t, std::uint32_t id) { add_to_set(common[id]); },
                               end_row);
        }
        return is_good ? std::optional(std::move(grouping_)) : std::nullopt;
    }

private:
    void add_to_set(std::uint16_t place) {
        if (place != TermPatterns::kNotCommon) {
            key_.first += keys_[place].first;
            key_.second += keys_[place].second;
            row_set_.push_back(place);
        }
    }

    void add_in_order(std::uint32_t id, std::uint16_t place) {
        if (id == kUnknownOrder) {
            sequence_.add_anything();
        } else if (id < kSpecialTerms || place == TermPatterns::kNotCommon) {
            sequence_.add_gap();
        } else {
            sequence_.add(place);
        }
    }

    /// Whether to go on.
    bool end_row(std::uint32_t row) {
        if constexpr (kByOrder) {
            sequence_.add_to(key_);
        }
        const auto number = numbers_.number_of(key_);
        if (number == grouping_.sets.size()) {
            std::ranges::sort(row_set_);
            grouping_.sets.push_back(row_set_);
            grouping_.set_counts.push_back(0);
            if constexpr (kByOrder) {
                const auto items = sequence_.items();
                grouping_.sequences.emplace_back(items.begin(), items.end());
            }
        }
        ++grouping_.set_counts[number];
        grouping_.set_of_row[row] = number;
        key_ = {};
        row_set_.clear();
        bool is_sound = true;
        if constexpr (kByOrder) {
            // What is said of phrases is said for certain, and somebody may have chosen texts
            // whose keys are equal.
            is_sound = std::ranges::equal(grouping_.sequences[number], sequence_.items());
            sequence_.clear();
        }
        return is_sound && grouping_.sets.size() <= (kByOrder ? kOrdersMax : kPatternsMax);
    }

    Grouping grouping_;
    std::vector<SetKey> keys_;  ///< Of the common terms.
    SetNumbers numbers_;
    // Of one row.
    SetKey key_;
    Terms row_set_;
    Sequence sequence_;
};

/// Groups by the terms of at least `rows_min` rows, or by these in their order; nothing if that
/// gives too many sets.
template <bool kByOrder>
std::optional<Grouping> group_rows(const RowTerms& row_terms,
                                   std::span<const std::uint32_t> row_counts,
                                   std::uint32_t rows,
                                   std::uint64_t rows_min) {
    RowGrouper<kByOrder> grouper;
    if (!grouper.choose_terms(row_counts, rows_min)) {
        return std::nullopt;
    }
    return std::move(grouper).group(row_terms, rows);
}

/// A coarser grouping: for each set the set of those of its terms that have `rows_min` rows.
struct Projection {
    std::uint64_t rows_min = 0;
    std::vector<std::uint32_t> number_of_set;
    std::vector<Terms> sets;
    std::vector<Terms> sequences;  ///< Of each set, if it is by order.
    std::vector<std::uint32_t> counts;
    double pattern_bytes = 0;
    double bytes = 0;  ///< With the lists of the terms that are not common enough.
};

/// `items` without the terms of fewer rows.
void project_sequence(const Grouping& grouping,
                      const Terms& items,
                      std::uint64_t rows_min,
                      Sequence& sequence) {
    sequence.clear();
    for (const auto item : items) {
        if (item == TermPatterns::kAnything) {
            sequence.add_anything();
            continue;
        }
        const auto place = static_cast<std::uint16_t>(item - TermPatterns::kFirstPlace);
        if (item == TermPatterns::kGap || grouping.common_counts[place] < rows_min) {
            sequence.add_gap();
        } else {
            sequence.add(place);
        }
    }
}

Projection project(const Grouping& grouping,
                   std::uint64_t rows_min,
                   std::uint32_t rows,
                   bool by_order) {
    Projection projection{.rows_min = rows_min};
    SetNumbers numbers;
    Terms kept;
    Sequence sequence;
    for (std::size_t set = 0; set < grouping.sets.size(); ++set) {
        SetKey key;
        kept.clear();
        for (const auto place : grouping.sets[set]) {
            if (grouping.common_counts[place] >= rows_min) {
                kept.push_back(place);
                key.first += mix(2ULL * place + 0x9e3779b97f4a7c15ULL);
                key.second += mix(2ULL * place + 1);
            }
        }
        if (by_order) {
            project_sequence(grouping, grouping.sequences[set], rows_min, sequence);
            sequence.add_to(key);
        }
        const auto number = numbers.number_of(key);
        if (number == projection.sets.size()) {
            projection.sets.push_back(kept);
            projection.counts.push_back(0);
            if (by_order) {
                projection.sequences.emplace_back(sequence.items().begin(), sequence.items().end());
                projection.pattern_bytes +=
                    static_cast<double>(sequence.items().size() + 1) * kSequenceItemBytes;
            }
        }
        projection.counts[number] += grouping.set_counts[set];
        projection.number_of_set.push_back(number);
    }
    for (std::size_t i = 0; i < projection.sets.size(); ++i) {
        projection.pattern_bytes +=
            spread_bytes(projection.counts[i], rows) + kPatternBytes +
            static_cast<double>(projection.sets[i].size()) * kPatternTermBytes;
    }
    projection.bytes = projection.pattern_bytes;
    for (const auto count : grouping.common_counts) {
        projection.bytes += count < rows_min ? spread_bytes(count, rows) : 0;
    }
    return projection;
}

/// The cheapest of the grouping by terms of `rows_min` rows and the coarser ones.
Projection cheapest(const Grouping& grouping, std::uint64_t rows_min, std::uint32_t rows) {
    auto best = project(grouping, rows_min, rows, false);
    for (unsigned step = 1; step <= kCoarserSteps && rows_min << step <= rows; ++step) {
        auto coarser = project(grouping, rows_min << step, rows, false);
        if (coarser.bytes < best.bytes) {
            best = std::move(coarser);
        }
    }
    return best;
}

/// Orders the sets and gives each its rows.
TermPatterns arrange(Grouping grouping, Projection projection) {
    TermPatterns patterns;
    std::vector<std::uint32_t> order(projection.sets.size());
    std::iota(order.begin(), order.end(), 0U);
    const bool by_order = !projection.sequences.empty();
    std::ranges::sort(order, [&](auto left, auto right) {
        const auto compared = projection.sets[left] <=> projection.sets[right];
        return compared != 0 ? compared < 0
                             : by_order && projection.sequences[left] < projection.sequences[right];
    });
    std::vector<std::uint32_t> place_of(order.size());
    std::vector<std::uint32_t> next;
    patterns.row_begin.push_back(0);
    for (std::uint32_t place = 0; place < order.size(); ++place) {
        place_of[order[place]] = place;
        next.push_back(patterns.row_begin.back());
        patterns.row_begin.push_back(next.back() + projection.counts[order[place]]);
        patterns.terms.push_back(std::move(projection.sets[order[place]]));
        if (by_order) {
            patterns.sequences.push_back(std::move(projection.sequences[order[place]]));
        }
    }
    patterns.rows.resize(grouping.set_of_row.size());
    for (std::uint32_t row = 0; row < grouping.set_of_row.size(); ++row) {
        const auto place = place_of[projection.number_of_set[grouping.set_of_row[row]]];
        patterns.rows[next[place]++] = row;
    }
    patterns.common = std::move(grouping.common);
    for (auto& place : patterns.common) {
        if (place != TermPatterns::kNotCommon &&
            grouping.common_counts[place] < projection.rows_min) {
            place = TermPatterns::kNotCommon;
        }
    }
    return patterns;
}

}  // namespace

std::size_t TermPatterns::capacity_bytes() const {
    auto bytes = (rows.capacity() + row_begin.capacity()) * sizeof(std::uint32_t) +
                 common.capacity() * sizeof(std::uint16_t);
    for (const auto* lists : {&terms, &sequences}) {
        for (const auto& each : *lists) {
            bytes += sizeof each + each.capacity() * sizeof(std::uint16_t);
        }
    }
    return bytes;
}

TermPatterns find_patterns(const RowTerms& row_terms,
                           std::span<const std::uint32_t> row_counts,
                           std::uint32_t rows) {
    auto rows_min = std::uint64_t{std::max(kRowsOfCommonMin, rows / kCommonShare)};
    std::optional<Grouping> grouping;
    while (rows_min <= rows) {
        grouping = group_rows<false>(row_terms, row_counts, rows, rows_min);
        if (grouping) {
            break;
        }
        rows_min *= 2;
    }
    if (!grouping || grouping->common_counts.empty()) {
        TermPatterns none;
        none.common.assign(row_counts.size(), TermPatterns::kNotCommon);
        none.row_begin.push_back(0);
        return none;
    }
    auto best = cheapest(*grouping, rows_min, rows);
    auto in_order = group_rows<true>(row_terms, row_counts, rows, best.rows_min);
    if (in_order) {
        auto ordered = project(*in_order, best.rows_min, rows, true);
        if (ordered.pattern_bytes - best.pattern_bytes <=
            std::max(kOrderBytes, kOrderShare * best.bytes)) {
            return arrange(std::move(*in_order), std::move(ordered));
        }
    }
    return arrange(std::move(*grouping), std::move(best));
}

}  // namespace molesignal
