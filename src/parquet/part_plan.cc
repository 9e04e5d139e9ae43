#include "parquet/part_plan.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::int64_t kHourNs = 3'600'000'000'000;
constexpr std::int64_t kDayNs = 24 * kHourNs;
constexpr std::int64_t kHourlyParts = 3;
constexpr std::size_t kServicesMax = 4096;
/// A row group with so many bytes of large texts ends: a writer holds a column of it in memory.
constexpr std::uint64_t kGroupTextBytesMax = 128U << 20U;

struct TimedRow {
    std::int64_t time_ns = 0;
    RowRef ref;
};

std::int64_t floor_div(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

/// Which part a row belongs to: equal numbers, equal part.
struct Buckets {
    std::int64_t first_hour = 0;
    std::int64_t days_per_part = 1;

    std::int64_t of(std::int64_t time_ns) const {
        const auto hour = floor_div(time_ns, kHourNs);
        // Days count below every hour number that is used.
        return hour >= first_hour
                   ? hour
                   : floor_div(time_ns, kDayNs * days_per_part) - (std::int64_t{1} << 40);
    }
};

std::vector<TimedRow> rows_by_time(std::span<const HotChunk> chunks) {
    std::vector<TimedRow> rows;
    std::size_t count = 0;
    for (const auto& chunk : chunks) {
        count += chunk.rows - chunk.begin;
    }
    rows.reserve(count);
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        for (auto row = chunks[i].begin; row < chunks[i].rows; ++row) {
            rows.push_back({.time_ns = chunks[i].timestamps[row], .ref = RowRef::make(i, row)});
        }
    }
    if (!std::ranges::is_sorted(rows, {}, &TimedRow::time_ns)) {
        std::ranges::sort(rows, [](const TimedRow& a, const TimedRow& b) {
            return a.time_ns != b.time_ns ? a.time_ns < b.time_ns : a.ref.value < b.ref.value;
        });
    }
    return rows;
}

/// Days for each part of older rows: as few as give at most `parts_max` parts.
Buckets choose_buckets(std::span<const TimedRow> rows, UnixNanos now, std::size_t parts_max) {
    constexpr std::array<std::int64_t, 5> kDays = {1, 7, 28, 364, 100'000};
    Buckets buckets{.first_hour = floor_div(now.value, kHourNs) - (kHourlyParts - 1)};
    for (const auto days : kDays) {
        buckets.days_per_part = days;
        std::size_t parts = 0;
        std::int64_t last = 0;
        for (const auto& row : rows) {
            const auto bucket = buckets.of(row.time_ns);
            if (parts == 0 || bucket != last) {
                last = bucket;
                ++parts;
            }
        }
        if (parts <= parts_max) {
            break;
        }
    }
    return buckets;
}

/// Numbers the values of the service field over all chunks, in the order of their names.
class ServiceRanks {
public:
    explicit ServiceRanks(std::span<const HotChunk> chunks) : chunks_(chunks) {
        constexpr std::array<std::string_view, 9> kNames = {"service.name",
                                                            "service",
                                                            "service_name",
                                                            "app",
                                                            "application",
                                                            "container",
                                                            "host.name",
                                                            "host",
                                                            "hostname"};
        for (const auto name : kNames) {
            if (try_field(name)) {
                field_ = name;
                return;
            }
        }
    }

    const std::string& field() const { return field_; }
    std::size_t count() const { return order_.size() + 1; }

    /// 0 for null, else the rank of the row's value.
    std::uint32_t rank(RowRef ref) const {
        const auto* column = columns_[ref.chunk()];
        const auto slot = column == nullptr ? HotColumnView::kNoSlot : column->slot(ref.row());
        if (slot == HotColumnView::kNoSlot) {
            return 0;
        }
        if (column->encoding == HotEncoding::kDictionary) {
            return order_[by_code_[ref.chunk()][column->codes[slot]]];
        }
        return order_[numbers_.at(column->text(slot))];
    }

private:
    bool try_field(std::string_view name) {
        numbers_.clear();
        columns_.assign(chunks_.size(), nullptr);
        by_code_.assign(chunks_.size(), {});
        bool any = false;
        for (std::size_t i = 0; i < chunks_.size(); ++i) {
            const auto* column = chunks_[i].find(name, FieldType::kString);
            columns_[i] = column;
            if (column == nullptr) {
                continue;
            }
            any = true;
            if (column->encoding == HotEncoding::kDictionary) {
                for (std::uint32_t code = 0; code < column->dictionary_size; ++code) {
                    by_code_[i].push_back(number_of(column->spans[code].view()));
                }
            } else {
                for (std::uint32_t row = 0; row < column->rows && numbers_.size() <= kServicesMax;
                     ++row) {
                    if (const auto slot = column->slot(row); slot != HotColumnView::kNoSlot) {
                        number_of(column->text(slot));
                    }
                }
            }
            if (numbers_.size() > kServicesMax) {
                return false;
            }
        }
        if (!any) {
            return false;
        }
        std::vector<std::pair<std::string_view, std::uint32_t>> sorted(numbers_.begin(),
                                                                       numbers_.end());
        std::ranges::sort(sorted);
        order_.assign(sorted.size(), 0);
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            order_[sorted[i].second] = static_cast<std::uint32_t>(i + 1);
        }
        return true;
    }

    std::uint32_t number_of(std::string_view value) {
        return numbers_.try_emplace(value, static_cast<std::uint32_t>(numbers_.size()))
            .first->second;
    }

    std::span<const HotChunk> chunks_;
    std::string field_;
    std::vector<const HotColumnView*> columns_;
    std::vector<std::vector<std::uint32_t>> by_code_;
    std::unordered_map<std::string_view, std::uint32_t> numbers_;
    std::vector<std::uint32_t> order_;
};

/// Bytes of large texts by row. Row groups with few of them, which is nearly all, cost one look at
/// each column.
class TextBytes {
public:
    explicit TextBytes(std::span<const HotChunk> chunks) : by_chunk_(chunks.size()) {
        for (std::size_t i = 0; i < chunks.size(); ++i) {
            for (const auto& column : chunks[i].columns) {
                if (is_variable_width(column.type) && has_large(column)) {
                    add(column, chunks[i], by_chunk_[i]);
                }
            }
        }
    }
    std::uint64_t of(RowRef ref) const {
        const auto& bytes = by_chunk_[ref.chunk()];
        return bytes.empty() ? 0 : bytes[ref.row()];
    }

private:
    /// A column of texts up to this size stays below 2 GiB in any row group.
    static constexpr std::uint32_t kLargeBytes = 256;

    static bool has_large(const HotColumnView& column) {
        const auto spans = column.encoding == HotEncoding::kDictionary ? column.dictionary_size
                           : column.is_sparse()                        ? column.sparse_size
                                                                       : column.rows;
        return std::any_of(column.spans, column.spans + spans, [](const TextSpan& span) {
            return span.size > kLargeBytes;
        });
    }
    static void add(const HotColumnView& column,
                    const HotChunk& chunk,
                    std::vector<std::uint64_t>& bytes) {
        bytes.resize(chunk.rows, 0);
        for (auto row = chunk.begin; row < chunk.rows; ++row) {
            if (const auto slot = column.slot(row); slot != HotColumnView::kNoSlot) {
                bytes[row] += column.text(slot).size();
            }
        }
    }

    std::vector<std::vector<std::uint64_t>> by_chunk_;
};

/// The begin of the row group that ends at `end`: by rows, or by bytes of text.
std::size_t group_begin_of(std::span<const TimedRow> rows,
                           std::size_t begin,
                           std::size_t end,
                           std::uint64_t rows_per_group,
                           const TextBytes& text) {
    auto at = end;
    std::uint64_t bytes = 0;
    while (at > begin && end - at < rows_per_group && bytes < kGroupTextBytesMax) {
        --at;
        bytes += text.of(rows[at].ref);
    }
    return at;
}

/// Appends `group` (ascending in time) to the slice: by service, then the newest first.
void append_group(std::span<const TimedRow> group, const ServiceRanks& services, PartSlice& slice) {
    const auto base = slice.rows.size();
    slice.rows.resize(base + group.size());
    if (services.field().empty()) {
        for (std::size_t i = 0; i < group.size(); ++i) {
            slice.rows[base + i] = group[group.size() - 1 - i].ref;
        }
    } else {
        // A counting sort keeps the order of time within each service.
        std::vector<std::size_t> starts(services.count() + 1, 0);
        std::vector<std::uint32_t> ranks(group.size());
        for (std::size_t i = 0; i < group.size(); ++i) {
            ranks[i] = services.rank(group[i].ref);
            ++starts[ranks[i] + 1];
        }
        for (std::size_t i = 1; i < starts.size(); ++i) {
            starts[i] += starts[i - 1];
        }
        for (std::size_t i = group.size(); i > 0; --i) {
            slice.rows[base + starts[ranks[i - 1]]++] = group[i - 1].ref;
        }
    }
    slice.group_ends.push_back(slice.rows.size());
}

}  // namespace

std::vector<PartSlice> plan_parts(std::span<const HotChunk> chunks,
                                  UnixNanos now,
                                  std::uint64_t rows_per_group,
                                  std::size_t parts_max) {
    MS_ASSERT(rows_per_group > 0);
    MS_ASSERT(chunks.size() < (std::size_t{1} << (32 - RowRef::kRowBits)));
    const auto rows = rows_by_time(chunks);
    const ServiceRanks services(chunks);
    const TextBytes text(chunks);
    const auto buckets = choose_buckets(rows, now, parts_max);
    std::vector<PartSlice> slices;
    for (std::size_t begin = 0; begin < rows.size();) {
        const auto bucket = buckets.of(rows[begin].time_ns);
        auto end = begin + 1;
        while (end < rows.size() && buckets.of(rows[end].time_ns) == bucket) {
            ++end;
        }
        PartSlice slice;
        slice.sort_field = services.field();
        slice.time_min_ns = rows[begin].time_ns;
        slice.time_max_ns = rows[end - 1].time_ns;
        for (auto group_end = end; group_end > begin;) {
            const auto group_begin = group_begin_of(rows, begin, group_end, rows_per_group, text);
            append_group(
                std::span(rows).subspan(group_begin, group_end - group_begin), services, slice);
            group_end = group_begin;
        }
        slices.push_back(std::move(slice));
        begin = end;
    }
    return slices;
}

}  // namespace molesignal
