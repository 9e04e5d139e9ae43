#include "parquet/part_columns.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include <arrow/api.h>
#include <fmt/format.h>

#include "common/assert.h"
#include "parquet/slot_lookup.h"

namespace molesignal {
namespace {

/// A dictionary larger than this share of its rows costs more than it saves.
constexpr std::uint64_t kRowsPerEntry = 4;
constexpr std::size_t kDictionaryMax = 1U << 16U;
constexpr std::size_t kZoneBytes = 64;

template <class T>
T value_of(arrow::Result<T> result) {
    MS_ASSERT(result.ok());
    return std::move(result).ValueUnsafe();
}

/// Validity of gathered rows, built only if something is null.
class Validity {
public:
    Validity(std::size_t rows, arrow::MemoryPool& pool) : rows_(rows), pool_(pool) {}
    void set_null(std::size_t row) {
        if (bits_ == nullptr) {
            bits_ =
                value_of(arrow::AllocateBuffer(static_cast<std::int64_t>((rows_ + 7) / 8), &pool_));
            std::memset(bits_->mutable_data(), 0xff, static_cast<std::size_t>(bits_->size()));
        }
        bits_->mutable_data()[row / 8] &= static_cast<std::uint8_t>(~(1U << (row % 8)));
        ++nulls_;
    }
    std::shared_ptr<arrow::Buffer> take() { return std::move(bits_); }
    std::int64_t nulls() const { return nulls_; }

private:
    std::size_t rows_;
    arrow::MemoryPool& pool_;
    std::shared_ptr<arrow::Buffer> bits_;
    std::int64_t nulls_ = 0;
};

std::int64_t floor_us(std::int64_t nanos) {
    return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

/// `value` cut to at most kZoneBytes, between two characters.
std::string_view cut_text(std::string_view value) {
    if (value.size() <= kZoneBytes) {
        return value;
    }
    auto size = kZoneBytes;
    while (size > 0 && (static_cast<unsigned char>(value[size]) & 0xc0U) == 0x80U) {
        --size;
    }
    return value.substr(0, size);
}

void append_utf8(std::string& out, std::uint32_t character) {
    if (character < 0x80) {
        out.push_back(static_cast<char>(character));
    } else if (character < 0x800) {
        out.push_back(static_cast<char>(0xc0U | character >> 6U));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    } else if (character < 0x10000) {
        out.push_back(static_cast<char>(0xe0U | character >> 12U));
        out.push_back(static_cast<char>(0x80U | (character >> 6U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    } else {
        out.push_back(static_cast<char>(0xf0U | character >> 18U));
        out.push_back(static_cast<char>(0x80U | (character >> 12U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character >> 6U & 0x3fU)));
        out.push_back(static_cast<char>(0x80U | (character & 0x3fU)));
    }
}

/// Takes the last character of valid UTF-8 off.
std::uint32_t take_last(std::string& text) {
    auto at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U) {
        --at;
    }
    const auto bytes = text.size() - at;
    auto character = static_cast<std::uint32_t>(static_cast<unsigned char>(text[at]));
    character &= bytes == 1 ? 0x7fU : 0xffU >> (bytes + 1);
    for (auto i = at + 1; i < text.size(); ++i) {
        character = character << 6U | (static_cast<unsigned char>(text[i]) & 0x3fU);
    }
    text.resize(at);
    return character;
}

/// The text, or if it is too long a shorter one that is above every text with the same beginning;
/// false if there is none.
bool round_up(std::string& value) {
    if (value.size() <= kZoneBytes) {
        return true;
    }
    value.resize(cut_text(value).size());
    while (!value.empty()) {
        const auto last = take_last(value);
        if (last < 0x10ffff) {
            // The surrogates are no characters.
            append_utf8(value, last == 0xd7ff ? 0xe000 : last + 1);
            return true;
        }
    }
    return false;
}

}  // namespace

PartColumn::PartColumn(std::string column_name,
                       FieldId id,
                       FieldType type,
                       std::vector<const HotColumnView*> views,
                       std::span<const RowRef> rows,
                       arrow::MemoryPool& pool)
    : pool_(pool), name_(std::move(column_name)), id_(id), type_(type), views_(std::move(views)) {
    coded_ = is_variable_width(type_) && type_ != FieldType::kBytes;
    for (const auto* view : views_) {
        if (view != nullptr) {
            coded_ = coded_ && view->encoding == HotEncoding::kDictionary;
        }
    }
    if (coded_) {
        build_dictionary(rows);
    }
}

bool PartColumn::has_value(std::span<const HotColumnView* const> views,
                           std::span<const RowRef> rows) {
    return std::ranges::any_of(rows, [views](RowRef ref) {
        const auto* view = views[ref.chunk()];
        return view != nullptr && !view->is_null(ref.row());
    });
}

void PartColumn::build_dictionary(std::span<const RowRef> rows) {
    // Only values that a row of the part has: readers may compute with every entry of a dictionary.
    constexpr std::int32_t kUnused = -1;
    const SlotLookup slots(views_);
    std::unordered_map<std::string_view, std::int32_t> numbers;
    part_codes_.resize(views_.size());
    const auto limit = std::min<std::uint64_t>(
        kDictionaryMax, std::max<std::uint64_t>(64, rows.size() / kRowsPerEntry));
    for (const auto ref : rows) {
        const auto slot = slots.slot(ref);
        if (slot == HotColumnView::kNoSlot) {
            continue;
        }
        const auto* view = views_[ref.chunk()];
        auto& codes = part_codes_[ref.chunk()];
        if (codes.empty()) {
            codes.assign(view->dictionary_size, kUnused);
        }
        const auto code = view->codes[slot];
        if (codes[code] != kUnused) {
            continue;
        }
        const auto [found, is_new] = numbers.try_emplace(view->spans[code].view(),
                                                         static_cast<std::int32_t>(numbers.size()));
        codes[code] = found->second;
        if (!is_new) {
            continue;
        }
        dictionary_values_.push_back(found->first);
        if (numbers.size() > limit) {
            coded_ = false;
            part_codes_.clear();
            dictionary_values_.clear();
            return;
        }
    }
    arrow::StringBuilder builder(&pool_);
    for (const auto value : dictionary_values_) {
        MS_ASSERT(builder.Append(value).ok());
    }
    dictionary_ = value_of(builder.Finish());
}

std::shared_ptr<arrow::DataType> PartColumn::arrow_type() const {
    switch (type_) {
        case FieldType::kBool:
            return arrow::boolean();
        case FieldType::kInt64:
            return arrow::int64();
        case FieldType::kUint64:
            return arrow::uint64();
        case FieldType::kFloat64:
            return arrow::float64();
        case FieldType::kTimestamp:
            return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
        case FieldType::kBytes:
            return arrow::binary();
        case FieldType::kString:
        case FieldType::kJson:
            return coded_ ? arrow::dictionary(arrow::int32(), arrow::utf8()) : arrow::utf8();
    }
    return arrow::null();
}

std::shared_ptr<arrow::Array> PartColumn::gather(std::span<const RowRef> rows) {
    const SlotLookup slots(views_);
    if (!is_variable_width(type_)) {
        return gather_fixed(rows, slots);
    }
    return coded_ ? gather_coded(rows, slots) : gather_plain(rows, slots);
}

void PartColumn::note_number(std::uint64_t bits) {
    if (values_++ == 0) {
        min_bits_ = bits;
        max_bits_ = bits;
        has_nan_ =
            has_nan_ || (type_ == FieldType::kFloat64 && std::isnan(std::bit_cast<double>(bits)));
        return;
    }
    switch (type_) {
        case FieldType::kFloat64: {
            const auto value = std::bit_cast<double>(bits);
            has_nan_ = has_nan_ || std::isnan(value);
            min_bits_ = value < std::bit_cast<double>(min_bits_) ? bits : min_bits_;
            max_bits_ = value > std::bit_cast<double>(max_bits_) ? bits : max_bits_;
            break;
        }
        case FieldType::kUint64:
            min_bits_ = std::min(min_bits_, bits);
            max_bits_ = std::max(max_bits_, bits);
            break;
        default: {
            const auto value = static_cast<std::int64_t>(bits);
            min_bits_ = value < static_cast<std::int64_t>(min_bits_) ? bits : min_bits_;
            max_bits_ = value > static_cast<std::int64_t>(max_bits_) ? bits : max_bits_;
        }
    }
}

void PartColumn::note_text(std::string_view value) {
    if (values_++ == 0) {
        min_text_ = value;
        max_text_ = value;
        return;
    }
    if (value < min_text_) {
        min_text_ = value;
    } else if (value > max_text_) {
        max_text_ = value;
    }
}

std::shared_ptr<arrow::Array> PartColumn::gather_fixed(std::span<const RowRef> rows,
                                                       const SlotLookup& slots) {
    Validity validity(rows.size(), pool_);
    const auto count = static_cast<std::int64_t>(rows.size());
    const bool is_bool = type_ == FieldType::kBool;
    std::shared_ptr<arrow::Buffer> values = value_of(
        arrow::AllocateBuffer(is_bool ? (count + 7) / 8 : count * std::int64_t{8}, &pool_));
    if (is_bool) {
        std::memset(values->mutable_data(), 0, static_cast<std::size_t>(values->size()));
    }
    auto* words = reinterpret_cast<std::uint64_t*>(values->mutable_data());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto slot = slots.slot(rows[i]);
        if (slot == HotColumnView::kNoSlot) {
            validity.set_null(i);
            if (!is_bool) {
                words[i] = 0;
            }
            continue;
        }
        const auto bits = views_[rows[i].chunk()]->fixed[slot];
        note_number(bits);
        if (is_bool) {
            values->mutable_data()[i / 8] |= static_cast<std::uint8_t>((bits & 1U) << (i % 8));
        } else {
            words[i] = type_ == FieldType::kTimestamp
                           ? static_cast<std::uint64_t>(floor_us(static_cast<std::int64_t>(bits)))
                           : bits;
        }
    }
    nulls_ += static_cast<std::uint64_t>(validity.nulls());
    const auto nulls = validity.nulls();
    return arrow::MakeArray(
        arrow::ArrayData::Make(arrow_type(), count, {validity.take(), values}, nulls));
}

std::shared_ptr<arrow::Array> PartColumn::gather_plain(std::span<const RowRef> rows,
                                                       const SlotLookup& slots) {
    Validity validity(rows.size(), pool_);
    const auto count = static_cast<std::int64_t>(rows.size());
    std::shared_ptr<arrow::Buffer> offsets =
        value_of(arrow::AllocateBuffer((count + 1) * std::int64_t{4}, &pool_));
    auto* ends = reinterpret_cast<std::int32_t*>(offsets->mutable_data());
    std::vector<std::string_view> texts(rows.size());
    std::int64_t bytes = 0;
    const bool bounded = type_ == FieldType::kString;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        ends[i] = static_cast<std::int32_t>(bytes);
        const auto slot = slots.slot(rows[i]);
        if (slot == HotColumnView::kNoSlot) {
            validity.set_null(i);
            continue;
        }
        texts[i] = views_[rows[i].chunk()]->text(slot);
        bytes += static_cast<std::int64_t>(texts[i].size());
        // plan_parts ends a row group long before.
        MS_ASSERT(bytes <= INT32_MAX);
        if (bounded) {
            note_text(texts[i]);
        } else {
            ++values_;
        }
    }
    ends[rows.size()] = static_cast<std::int32_t>(bytes);
    std::shared_ptr<arrow::Buffer> data = value_of(arrow::AllocateBuffer(bytes, &pool_));
    auto* to = data->mutable_data();
    for (const auto text : texts) {
        if (!text.empty()) {
            std::memcpy(to, text.data(), text.size());
            to += text.size();
        }
    }
    nulls_ += static_cast<std::uint64_t>(validity.nulls());
    const auto nulls = validity.nulls();
    return arrow::MakeArray(
        arrow::ArrayData::Make(arrow_type(), count, {validity.take(), offsets, data}, nulls));
}

std::shared_ptr<arrow::Array> PartColumn::gather_coded(std::span<const RowRef> rows,
                                                       const SlotLookup& slots) {
    Validity validity(rows.size(), pool_);
    const auto count = static_cast<std::int64_t>(rows.size());
    std::shared_ptr<arrow::Buffer> indices =
        value_of(arrow::AllocateBuffer(count * std::int64_t{4}, &pool_));
    auto* codes = reinterpret_cast<std::int32_t*>(indices->mutable_data());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto slot = slots.slot(rows[i]);
        if (slot == HotColumnView::kNoSlot) {
            validity.set_null(i);
            codes[i] = 0;
            continue;
        }
        const auto chunk = rows[i].chunk();
        codes[i] = part_codes_[chunk][views_[chunk]->codes[slot]];
        ++values_;
    }
    nulls_ += static_cast<std::uint64_t>(validity.nulls());
    const auto nulls = validity.nulls();
    auto data = arrow::ArrayData::Make(arrow_type(), count, {validity.take(), indices}, nulls);
    data->dictionary = dictionary_->data();
    return arrow::MakeArray(data);
}

bool PartColumn::zone(WrittenZone& zone) const {
    if (values_ == 0 || has_nan_ || type_ == FieldType::kBytes || type_ == FieldType::kJson) {
        return false;
    }
    zone.field = id_;
    zone.null_count = nulls_;
    const auto number = [this](std::uint64_t bits) {
        switch (type_) {
            case FieldType::kUint64:
                return fmt::format("{}", bits);
            case FieldType::kFloat64:
                return fmt::format("{}", std::bit_cast<double>(bits));
            default:
                return fmt::format("{}", static_cast<std::int64_t>(bits));
        }
    };
    if (!is_variable_width(type_)) {
        zone.min = number(min_bits_);
        zone.max = number(max_bits_);
        return true;
    }
    auto smallest = min_text_;
    auto largest = max_text_;
    if (coded_) {
        smallest = *std::ranges::min_element(dictionary_values_);
        largest = *std::ranges::max_element(dictionary_values_);
    }
    zone.min = std::string(cut_text(smallest));
    zone.max = std::string(largest);
    return round_up(zone.max);
}

}  // namespace molesignal
