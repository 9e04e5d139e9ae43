#include "index/value_builder.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "index/coding.h"

namespace molesignal {
namespace {

constexpr unsigned kRegisterBits = 12;
constexpr unsigned kSlotBits = 14;
constexpr std::size_t kSlots = std::size_t{1} << kSlotBits;
static_assert(kSlots == kExactValuesMax * 4);
constexpr std::size_t kValueBytesMax = 256 * 1024;

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

ValueBuilder::ValueBuilder(std::uint32_t rows, std::uint64_t table_seed, unsigned pass_bits)
    : slot_factor_(table_seed | 1U),
      rows_(rows),
      slots_(kSlots, kNone),
      table_(rows, pass_bits),
      registers_(std::size_t{1} << kRegisterBits) {}

void ValueBuilder::add(std::uint32_t row, std::string_view value) {
    if (!is_first_pass_) {
        table_.add(id_hash(value), row);
        return;
    }
    ++present_rows_;
    const bool is_last = exact_ && last_value_ != kNone && values_[last_value_].text == value;
    const auto hash = is_last ? values_[last_value_].hash : id_hash(value);
    // Also while the values are few: they may turn out to be many.
    table_.add(hash, row);
    if (!is_last) {
        auto& entry = registers_[hash >> (64 - kRegisterBits)];
        const auto zeros = std::countl_zero(hash << kRegisterBits | 1U);
        entry = std::max(entry, static_cast<std::uint8_t>(zeros + 1));
    }
    if (exact_) {
        count_exactly(row, value, hash);
    }
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
}

void ValueBuilder::give_up_exact() {
    exact_ = false;
    values_ = {};
    slots_ = {};
    block_entries_ = 0;
    value_bytes_ = 0;
}

std::size_t ValueBuilder::capacity_bytes() const {
    return value_bytes_ + slots_.capacity() * sizeof(std::uint32_t) +
           values_.capacity() * sizeof(Value) + block_entries_ * 2 * sizeof(std::uint32_t) +
           registers_.capacity() + table_.capacity_bytes();
}

std::size_t ValueBuilder::finish_bytes() const {
    return table_.finish_bytes();
}

bool ValueBuilder::are_few() const {
    return exact_ && (values_.size() <= rows_ / 16 || values_.size() <= 1);
}

bool ValueBuilder::next_pass() {
    if ((is_first_pass_ && are_few()) || !table_.next_pass()) {
        return false;
    }
    is_first_pass_ = false;
    return true;
}

BuiltField ValueBuilder::finish() {
    auto built = are_few() ? finish_exact() : finish_hashed();
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

BuiltField ValueBuilder::finish_hashed() {
    BuiltField built{.kind = FieldIndexKind::kHashed};
    built.distinct = exact_ ? values_.size() : std::min(estimate(registers_), present_rows_);
    auto table = std::move(table_).finish(built.hashes);
    built.areas.emplace_back(AreaKind::kHashes, std::move(table.hashes));
    built.areas.emplace_back(AreaKind::kHashIndex, std::move(table.index));
    return built;
}

}  // namespace molesignal
