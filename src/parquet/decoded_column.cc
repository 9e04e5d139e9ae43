#include "parquet/decoded_column.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::int64_t kCodesMax = std::int64_t{1} << 16U;

template <class Value>
Value* allocate(std::uint64_t count,
                arrow::MemoryPool& pool,
                std::vector<std::shared_ptr<arrow::Buffer>>& buffers) {
    auto buffer = arrow::AllocateBuffer(static_cast<std::int64_t>(count * sizeof(Value)), &pool);
    MS_ASSERT(buffer.ok());
    buffers.push_back(std::move(buffer).ValueUnsafe());
    return reinterpret_cast<Value*>(buffers.back()->mutable_data());
}

arrow::Type::type expected_type(FieldType type) {
    switch (type) {
        case FieldType::kBool:
            return arrow::Type::BOOL;
        case FieldType::kInt64:
            return arrow::Type::INT64;
        case FieldType::kUint64:
            return arrow::Type::UINT64;
        case FieldType::kFloat64:
            return arrow::Type::DOUBLE;
        case FieldType::kTimestamp:
            return arrow::Type::TIMESTAMP;
        case FieldType::kBytes:
            return arrow::Type::BINARY;
        case FieldType::kString:
        case FieldType::kJson:
            return arrow::Type::STRING;
    }
    return arrow::Type::NA;
}

Error wrong_type(const arrow::Array& chunk) {
    return {ErrorCode::kCorruption,
            fmt::format("its values are {}, not what the field has", chunk.type()->ToString())};
}

/// The texts of `array`, STRING or BINARY, one span a value.
void spans_of(const arrow::Array& array, TextSpan* out) {
    const auto& texts = static_cast<const arrow::BinaryArray&>(array);
    for (std::int64_t i = 0; i < texts.length(); ++i) {
        const auto text = texts.GetView(i);
        out[i] = {.data = text.data(), .size = static_cast<std::uint32_t>(text.size())};
    }
}

}  // namespace

Result<DecodedColumn> DecodedColumn::make(FieldType type,
                                          std::shared_ptr<arrow::ChunkedArray> array,
                                          arrow::MemoryPool& pool) {
    DecodedColumn column;
    column.array_ = std::move(array);
    column.rows_ = static_cast<std::uint64_t>(column.array_->length());
    if (is_variable_width(type)) {
        MS_TRY_VOID(column.decode_text(type, pool));
    } else {
        MS_TRY_VOID(column.decode_fixed(type, pool));
    }
    column.copy_validity(pool);
    return column;
}

void DecodedColumn::copy_validity(arrow::MemoryPool& pool) {
    if (array_->null_count() == 0) {
        return;
    }
    const auto words = (rows_ + 63) / 64;
    auto* valid = allocate<std::uint64_t>(words, pool, buffers_);
    std::memset(valid, 0, words * sizeof(std::uint64_t));
    std::uint64_t row = 0;
    for (const auto& chunk : array_->chunks()) {
        for (std::int64_t i = 0; i < chunk->length(); ++i, ++row) {
            valid[row / 64] |= std::uint64_t{chunk->IsValid(i) ? 1U : 0U} << (row % 64);
        }
    }
    valid_ = valid;
}

Result<> DecodedColumn::decode_fixed(FieldType type, arrow::MemoryPool& pool) {
    encoding_ = HotEncoding::kFixed;
    for (const auto& chunk : array_->chunks()) {
        if (chunk->type_id() != expected_type(type)) {
            return wrong_type(*chunk);
        }
    }
    const bool is_as_hot = type != FieldType::kBool && type != FieldType::kTimestamp;
    if (is_as_hot && array_->num_chunks() == 1) {
        fixed_ = array_->chunk(0)->data()->GetValues<std::uint64_t>(1);
        return {};
    }
    auto* fixed = allocate<std::uint64_t>(rows_, pool, buffers_);
    fixed_ = fixed;
    for (const auto& chunk : array_->chunks()) {
        if (type == FieldType::kBool) {
            const auto& bits = static_cast<const arrow::BooleanArray&>(*chunk);
            for (std::int64_t i = 0; i < bits.length(); ++i) {
                *fixed++ = bits.Value(i) ? 1 : 0;
            }
            continue;
        }
        const auto* values = chunk->data()->GetValues<std::uint64_t>(1);
        const std::uint64_t factor = type == FieldType::kTimestamp ? 1000 : 1;
        for (std::int64_t i = 0; i < chunk->length(); ++i) {
            *fixed++ = values[i] * factor;
        }
    }
    return {};
}

/// One dictionary with 16-bit codes is kept as it is.
bool DecodedColumn::decode_dictionary(arrow::MemoryPool& pool) {
    if (array_->num_chunks() != 1 || array_->chunk(0)->type_id() != arrow::Type::DICTIONARY) {
        return false;
    }
    const auto& coded = static_cast<const arrow::DictionaryArray&>(*array_->chunk(0));
    const auto& dictionary = *coded.dictionary();
    if (dictionary.length() > kCodesMax || coded.indices()->type_id() != arrow::Type::INT32) {
        return false;
    }
    auto* spans =
        allocate<TextSpan>(static_cast<std::uint64_t>(dictionary.length()), pool, buffers_);
    spans_of(dictionary, spans);
    auto* codes = allocate<std::uint16_t>(rows_, pool, buffers_);
    const auto* indices = coded.indices()->data()->GetValues<std::int32_t>(1);
    for (std::uint64_t i = 0; i < rows_; ++i) {
        // Of a null the index is anything.
        codes[i] = static_cast<std::uint16_t>(
            indices[i] >= 0 && indices[i] < dictionary.length() ? indices[i] : 0);
    }
    encoding_ = HotEncoding::kDictionary;
    spans_ = spans;
    codes_ = codes;
    dictionary_size_ = static_cast<std::uint32_t>(dictionary.length());
    return true;
}

Result<> DecodedColumn::decode_text(FieldType type, arrow::MemoryPool& pool) {
    for (const auto& chunk : array_->chunks()) {
        const auto* values = chunk.get();
        if (chunk->type_id() == arrow::Type::DICTIONARY) {
            values = static_cast<const arrow::DictionaryArray&>(*chunk).dictionary().get();
        }
        if (values->type_id() != expected_type(type)) {
            return wrong_type(*chunk);
        }
    }
    if (decode_dictionary(pool)) {
        return {};
    }
    encoding_ = HotEncoding::kText;
    auto* spans = allocate<TextSpan>(rows_, pool, buffers_);
    spans_ = spans;
    for (const auto& chunk : array_->chunks()) {
        if (chunk->type_id() != arrow::Type::DICTIONARY) {
            spans_of(*chunk, spans);
        } else {
            const auto& coded = static_cast<const arrow::DictionaryArray&>(*chunk);
            const auto& texts = static_cast<const arrow::BinaryArray&>(*coded.dictionary());
            for (std::int64_t i = 0; i < coded.length(); ++i) {
                const auto text =
                    coded.IsValid(i) ? texts.GetView(coded.GetValueIndex(i)) : std::string_view();
                spans[i] = {.data = text.data(), .size = static_cast<std::uint32_t>(text.size())};
            }
        }
        spans += chunk->length();
    }
    return {};
}

HotColumnView DecodedColumn::view(std::size_t chunk) const {
    const auto first = chunk * HotChunk::kRowsMax;
    MS_ASSERT(first < rows_);
    HotColumnView out;
    out.encoding = encoding_;
    out.rows =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(HotChunk::kRowsMax, rows_ - first));
    out.valid = valid_ == nullptr ? nullptr : valid_ + first / 64;
    out.fixed = fixed_ == nullptr ? nullptr : fixed_ + first;
    out.spans = encoding_ == HotEncoding::kText ? spans_ + first : spans_;
    out.codes = codes_ == nullptr ? nullptr : codes_ + first;
    out.dictionary_size = dictionary_size_;
    return out;
}

}  // namespace molesignal
