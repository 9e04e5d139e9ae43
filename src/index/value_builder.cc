#include "index/value_builder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "common/assert.h"
#include "index/coding.h"

namespace molesignal {
namespace {

constexpr unsigned kRegisterBits = 12;
constexpr unsigned kSlotBits = 14;
constexpr std::size_t kSlots = std::size_t{1} << kSlotBits;
static_assert(kSlots == kExactValuesMax * 4);
constexpr std::size_t kValueBytesMax = 256 * 1024;

/// An estimate of the distinct keys: linear counting (Whang et al. 1990) in a bitmap with at least
/// eight bits for each key. For the size of a filter, where a per cent does not matter.
std::uint64_t count_distinct(const std::vector<std::uint64_t>& keys) {
    const auto bits = std::bit_ceil(std::max<std::uint64_t>(64, keys.size() * 8));
    std::vector<std::uint64_t> map(bits / 64);
    for (const auto key : keys) {
        map[key % bits / 64] |= std::uint64_t{1} << key % 64;
    }
    std::uint64_t set = 0;
    for (const auto word : map) {
        set += static_cast<unsigned>(std::popcount(word));
    }
    const auto zeros = static_cast<double>(bits - set) / static_cast<double>(bits);
    return static_cast<std::uint64_t>(std::lround(-static_cast<double>(bits) * std::log(zeros)));
}

/// HyperLogLog (Flajolet et al. 2007) with linear counting for few keys.
std::uint64_t estimate(const std::vector<std::uint8_t>& registers) {
    const auto size = static_cast<double>(registers.size());
    double sum = 0;
    double zeros = 0;
    for (const auto value : registers) {
        sum += std::ldexp(1.0, -value);
        zeros += value == 0 ? 1 : 0;
    }
    const auto raw = 0.7213 / (1 + 1.079 / size) * size * size / sum;
    const auto counted = raw < 2.5 * size && zeros > 0 ? size * std::log(size / zeros) : raw;
    return static_cast<std::uint64_t>(std::llround(counted));
}

}  // namespace

ValueBuilder::ValueBuilder(std::span<const std::uint32_t> group_ends, std::uint64_t table_seed)
    : slot_factor_(table_seed | 1U),
      group_ends_(group_ends),
      rows_(group_ends.empty() ? 0 : group_ends.back()),
      slots_(kSlots, kNone),
      registers_(std::size_t{1} << kRegisterBits) {}

void ValueBuilder::add(std::uint32_t row, std::string_view value) {
    end_groups(row);
    ++present_rows_;
    if (exact_) {
        if (last_value_ != kNone && values_[last_value_].text == value) {
            count_exactly(row, value, values_[last_value_].hash);
            return;
        }
        const auto hash = filter_hash(value);
        count_exactly(row, value, hash);
        if (exact_) {
            return;
        }
    }
    add_key(filter_hash(value));
}

std::uint32_t ValueBuilder::find_value(std::string_view value, std::uint64_t hash) {
    for (auto slot = hash * slot_factor_ >> (64 - kSlotBits);; slot = (slot + 1) % kSlots) {
        const auto found = slots_[slot];
        if (found == kNone) {
            if (value.size() > kExactValueBytesMax || values_.size() == kExactValuesMax ||
                value_bytes_ + value.size() > kValueBytesMax) {
                return kNone;
            }
            slots_[slot] = static_cast<std::uint32_t>(values_.size());
            value_bytes_ += value.size();
            values_.push_back({.text = std::string(value), .hash = hash});
            return slots_[slot];
        }
        if (values_[found].hash == hash && values_[found].text == value) {
            return found;
        }
    }
}

void ValueBuilder::count_exactly(std::uint32_t row, std::string_view value, std::uint64_t hash) {
    if (last_value_ == kNone || values_[last_value_].hash != hash ||
        values_[last_value_].text != value) {
        last_value_ = find_value(value, hash);
    }
    if (last_value_ == kNone) {
        give_up_exact();
        return;
    }
    auto& found = values_[last_value_];
    ++found.rows;
    const auto block = row / kValueBlockRows;
    if (found.blocks.empty() || found.blocks.back() != block) {
        found.blocks.push_back(block);
        ++block_entries_;
    }
    if (found.last_group != group_) {
        found.last_group = group_;
        add_key(hash);
    }
}

void ValueBuilder::give_up_exact() {
    exact_ = false;
    values_ = {};
    slots_ = {};
    block_entries_ = 0;
    value_bytes_ = 0;
}

void ValueBuilder::add_key(std::uint64_t hash) {
    keys_.push_back(hash);
    auto& entry = registers_[hash >> (64 - kRegisterBits)];
    const auto zeros = std::countl_zero(hash << kRegisterBits | 1U);
    entry = std::max(entry, static_cast<std::uint8_t>(zeros + 1));
}

void ValueBuilder::end_groups(std::uint32_t row) {
    while (row >= group_ends_[group_]) {
        end_group();
    }
}

void ValueBuilder::end_group() {
    if (keys_.empty()) {
        filter_bits_.push_back(kNoFilter);
    } else {
        const auto bits = BlockFilter::bits_for(count_distinct(keys_));
        filter_bits_.push_back(static_cast<std::uint8_t>(bits));
        filters_.emplace_back(bits);
        filter_bytes_ += BlockFilter::kBlockBytes << bits;
        for (const auto key : keys_) {
            filters_.back().add(key);
        }
        keys_.clear();
    }
    ++group_;
}

std::size_t ValueBuilder::capacity_bytes() const {
    return value_bytes_ + slots_.capacity() * sizeof(std::uint32_t) +
           values_.capacity() * sizeof(Value) + block_entries_ * 2 * sizeof(std::uint32_t) +
           keys_.capacity() * sizeof(std::uint64_t) + registers_.capacity() + filter_bytes_;
}

std::size_t ValueBuilder::finish_bytes() const {
    // The encoded form is about as large; the last group's filter and its bitmap come on top.
    return capacity_bytes() + keys_.size() * 4;
}

BuiltField ValueBuilder::finish() {
    while (group_ < group_ends_.size()) {
        end_group();
    }
    const bool few = exact_ && (values_.size() <= rows_ / 16 || values_.size() <= 1);
    auto built = few ? finish_exact() : finish_filters();
    built.present_rows = present_rows_;
    return built;
}

BuiltField ValueBuilder::finish_exact() {
    BuiltField built{.kind = FieldIndexKind::kExact, .distinct = values_.size()};
    std::ranges::sort(values_, {}, &Value::text);
    ByteBuffer out;
    append_varint(out, values_.size());
    ByteBuffer blocks;
    for (const auto& value : values_) {
        append_text(out, value.text);
        append_varint(out, value.rows);
        append_varint(out, value.blocks.size());
        blocks.clear();
        append_ascending(blocks, value.blocks);
        append_varint(out, blocks.size());
        append_bytes(out, blocks);
    }
    built.areas.emplace_back(AreaKind::kValues, std::move(out));
    return built;
}

/// Filters of one size lie interleaved, block by block, so that a look-up reads one place for each
/// size; the sizes ascend.
BuiltField ValueBuilder::finish_filters() {
    BuiltField built{.kind = FieldIndexKind::kFilter};
    built.distinct = exact_ ? values_.size() : std::min(estimate(registers_), present_rows_);
    built.filter_bits = filter_bits_;
    ByteBuffer out;
    for (unsigned bits = 0; bits <= kFilterBitsMax; ++bits) {
        if (std::ranges::count(filter_bits_, bits) == 0) {
            continue;
        }
        for (std::size_t block = 0; block < std::size_t{1} << bits; ++block) {
            for (const auto& filter : filters_) {
                if (filter.bits() == bits) {
                    append_bytes(out, filter.block(block));
                }
            }
        }
    }
    built.areas.emplace_back(AreaKind::kFilters, std::move(out));
    return built;
}

}  // namespace molesignal
