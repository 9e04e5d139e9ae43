#include "index/text/term_patterns.h"

#include <algorithm>
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

/// Rows grouped by their sets of common terms.
struct Grouping {
    std::vector<std::uint16_t> common;         ///< By term id.
    std::vector<std::uint32_t> common_counts;  ///< Rows of each common term.
    std::vector<Terms> sets;
    std::vector<std::uint32_t> set_counts;
    std::vector<std::uint32_t> set_of_row;
};

/// Groups by the terms of at least `rows_min` rows; nothing if that gives too many sets.
std::optional<Grouping> group_rows(const RowTerms& row_terms,
                                   std::span<const std::uint32_t> row_counts,
                                   std::uint32_t rows,
                                   std::uint64_t rows_min) {
    Grouping grouping;
    grouping.common.assign(row_counts.size(), TermPatterns::kNotCommon);
    std::vector<SetKey> keys;
    for (std::size_t id = 0; id < row_counts.size(); ++id) {
        if (row_counts[id] >= rows_min) {
            if (keys.size() == TermPatterns::kNotCommon) {
                return std::nullopt;
            }
            grouping.common[id] = static_cast<std::uint16_t>(keys.size());
            grouping.common_counts.push_back(row_counts[id]);
            keys.push_back({mix(2 * id + 0x9e3779b97f4a7c15ULL), mix(2 * id + 1)});
        }
    }
    grouping.set_of_row.resize(rows);
    SetNumbers numbers;
    SetKey key;
    Terms row_set;
    const auto* common = grouping.common.data();
    row_terms.for_each(
        [&](std::uint32_t, std::uint32_t id) {
            const auto place = common[id];
            if (place != TermPatterns::kNotCommon) {
                key.first += keys[place].first;
                key.second += keys[place].second;
                row_set.push_back(place);
            }
        },
        [&](std::uint32_t row) {
            const auto number = numbers.number_of(key);
            if (number == grouping.sets.size()) {
                std::ranges::sort(row_set);
                grouping.sets.push_back(row_set);
                grouping.set_counts.push_back(0);
            }
            ++grouping.set_counts[number];
            grouping.set_of_row[row] = number;
            key = {};
            row_set.clear();
            return grouping.sets.size() <= kPatternsMax;
        });
    return grouping.sets.size() <= kPatternsMax ? std::optional(std::move(grouping)) : std::nullopt;
}

/// A coarser grouping: for each set the set of those of its terms that have `rows_min` rows.
struct Projection {
    std::vector<std::uint32_t> number_of_set;
    std::vector<Terms> sets;
    std::vector<std::uint32_t> counts;
    double bytes = 0;
};

Projection project(const Grouping& grouping, std::uint64_t rows_min, std::uint32_t rows) {
    Projection projection;
    SetNumbers numbers;
    Terms kept;
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
        const auto number = numbers.number_of(key);
        if (number == projection.sets.size()) {
            projection.sets.push_back(kept);
            projection.counts.push_back(0);
        }
        projection.counts[number] += grouping.set_counts[set];
        projection.number_of_set.push_back(number);
    }
    for (std::size_t i = 0; i < projection.sets.size(); ++i) {
        projection.bytes += spread_bytes(projection.counts[i], rows) + kPatternBytes +
                            static_cast<double>(projection.sets[i].size()) * kPatternTermBytes;
    }
    for (const auto count : grouping.common_counts) {
        projection.bytes += count < rows_min ? spread_bytes(count, rows) : 0;
    }
    return projection;
}

/// Orders the sets and gives each its rows.
TermPatterns arrange(Grouping grouping, Projection projection, std::uint64_t rows_min) {
    TermPatterns patterns;
    std::vector<std::uint32_t> order(projection.sets.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(
        order, {}, [&](auto number) -> const Terms& { return projection.sets[number]; });
    std::vector<std::uint32_t> place_of(order.size());
    std::vector<std::uint32_t> next;
    patterns.row_begin.push_back(0);
    for (std::uint32_t place = 0; place < order.size(); ++place) {
        place_of[order[place]] = place;
        next.push_back(patterns.row_begin.back());
        patterns.row_begin.push_back(next.back() + projection.counts[order[place]]);
        patterns.terms.push_back(std::move(projection.sets[order[place]]));
    }
    patterns.rows.resize(grouping.set_of_row.size());
    for (std::uint32_t row = 0; row < grouping.set_of_row.size(); ++row) {
        const auto place = place_of[projection.number_of_set[grouping.set_of_row[row]]];
        patterns.rows[next[place]++] = row;
    }
    patterns.common = std::move(grouping.common);
    for (auto& place : patterns.common) {
        if (place != TermPatterns::kNotCommon && grouping.common_counts[place] < rows_min) {
            place = TermPatterns::kNotCommon;
        }
    }
    return patterns;
}

}  // namespace

std::size_t TermPatterns::capacity_bytes() const {
    auto bytes = (rows.capacity() + row_begin.capacity()) * sizeof(std::uint32_t) +
                 common.capacity() * sizeof(std::uint16_t);
    for (const auto& each : terms) {
        bytes += sizeof each + each.capacity() * sizeof(std::uint16_t);
    }
    return bytes;
}

TermPatterns find_patterns(const RowTerms& row_terms,
                           std::span<const std::uint32_t> row_counts,
                           std::uint32_t rows) {
    auto rows_min = std::uint64_t{std::max(kRowsOfCommonMin, rows / kCommonShare)};
    std::optional<Grouping> grouping;
    while (rows_min <= rows) {
        grouping = group_rows(row_terms, row_counts, rows, rows_min);
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
    auto best = project(*grouping, rows_min, rows);
    auto best_min = rows_min;
    for (unsigned step = 1; step <= kCoarserSteps && rows_min << step <= rows; ++step) {
        auto coarser = project(*grouping, rows_min << step, rows);
        if (coarser.bytes < best.bytes) {
            best = std::move(coarser);
            best_min = rows_min << step;
        }
    }
    return arrange(std::move(*grouping), std::move(best), best_min);
}

}  // namespace molesignal
