#include "parquet/part_columns.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include <arrow/api.h>

#include "common/assert.h"
#include "parquet/part_file.h"
#include "parquet/slot_lookup.h"

namespace molesignal {
namespace {

/// A dictionary larger than this share of its rows costs more than it saves.
constexpr std::uint64_t kRowsPerEntry = 4;
constexpr std::size_t kDictionaryMax = 1U << 16U;

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

/// Which of a view's texts a value is, and how many there are: entries of the dictionary, or the
/// values themselves.
std::uint32_t code_of(const HotColumnView& view, std::uint32_t slot) {
    return view.encoding == HotEncoding::kDictionary ? view.codes[slot] : slot;
}
std::uint32_t codes_of(const HotColumnView& view) {
    if (view.encoding == HotEncoding::kDictionary) {
        return view.dictionary_size;
    }
    return view.is_sparse() ? view.sparse_size : view.rows;
}

}  // namespace

PartColumn::PartColumn(std::string column_name,
                       FieldId id,
                       FieldType type,
                       std::vector<const HotColumnView*> views,
                       std::span<const RowRef> rows,
                       arrow::MemoryPool& pool,
                       bool may_code)
    : pool_(pool),
      name_(std::move(column_name)),
      id_(id),
      type_(type),
      views_(std::move(views)),
      bounds_(type) {
    if (!is_variable_width(type_)) {
        coded_ = may_code && has_few_numbers(rows);
        return;
    }
    // A chunk may have given its dictionary up, because it is small or its values come in another
    // order: most of the rows decide.
    std::uint64_t coded_rows = 0;
    std::uint64_t plain_rows = 0;
    for (const auto* view : views_) {
        if (view != nullptr) {
            const auto values = view->is_sparse() ? view->sparse_size : view->rows;
            (view->encoding == HotEncoding::kDictionary ? coded_rows : plain_rows) += values;
        }
    }
    coded_ = may_code && type_ != FieldType::kBytes && coded_rows > plain_rows;
    if (coded_) {
        build_dictionary(rows);
    }
}

/// Of some of the rows: a dictionary of numbers pays while values repeat.
bool PartColumn::has_few_numbers(std::span<const RowRef> rows) const {
    constexpr std::size_t kSampleMax = 2'048;
    constexpr std::size_t kSampleMin = 64;
    if (type_ == FieldType::kBool) {
        return true;
    }
    std::vector<std::uint64_t> sample;
    const auto step = std::max<std::size_t>(1, rows.size() / kSampleMax);
    for (std::size_t i = 0; i < rows.size() && sample.size() < kSampleMax; i += step) {
        const auto* view = views_[rows[i].chunk()];
        const auto slot = view == nullptr ? HotColumnView::kNoSlot : view->slot(rows[i].row());
        if (slot != HotColumnView::kNoSlot) {
            sample.push_back(view->fixed[slot]);
        }
    }
    std::ranges::sort(sample);
    const auto distinct = sample.size() - std::ranges::unique(sample).size();
    return sample.size() < kSampleMin || distinct * 4 < sample.size();
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
            codes.assign(codes_of(*view), kUnused);
        }
        const auto code = code_of(*view, slot);
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
        bounds_.cover_text(value);
    }
    dictionary_ = value_of(builder.Finish());
}

std::shared_ptr<arrow::DataType> PartColumn::arrow_type() const {
    return coded_ && is_variable_width(type_) ? arrow::dictionary(arrow::int32(), arrow::utf8())
                                              : part_column_type(type_);
}

std::shared_ptr<arrow::Array> PartColumn::gather(std::span<const RowRef> rows) {
    const SlotLookup slots(views_);
    if (!is_variable_width(type_)) {
        return gather_fixed(rows, slots);
    }
    return coded_ ? gather_coded(rows, slots) : gather_plain(rows, slots);
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
        bounds_.add_number(bits);
        if (is_bool) {
            values->mutable_data()[i / 8] |= static_cast<std::uint8_t>((bits & 1U) << (i % 8));
        } else {
            words[i] = type_ == FieldType::kTimestamp
                           ? static_cast<std::uint64_t>(floor_us(static_cast<std::int64_t>(bits)))
                           : bits;
        }
    }
    bounds_.add_nulls(static_cast<std::uint64_t>(validity.nulls()));
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
            bounds_.add_text(texts[i]);
        } else {
            bounds_.add_values(1);
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
    bounds_.add_nulls(static_cast<std::uint64_t>(validity.nulls()));
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
        codes[i] = part_codes_[chunk][code_of(*views_[chunk], slot)];
        bounds_.add_values(1);
    }
    bounds_.add_nulls(static_cast<std::uint64_t>(validity.nulls()));
    const auto nulls = validity.nulls();
    auto data = arrow::ArrayData::Make(arrow_type(), count, {validity.take(), indices}, nulls);
    data->dictionary = dictionary_->data();
    return arrow::MakeArray(data);
}

}  // namespace molesignal
