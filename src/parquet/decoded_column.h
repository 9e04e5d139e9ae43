#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/api.h>

#include "common/result.h"
#include "model/hot_chunk.h"

namespace molesignal {

/// One column of a row group as Arrow decoded it, for views as hot rows have them. Immutable.
class DecodedColumn {
public:
    /// kCorruption: the array does not hold values of `type`. What is copied comes from `pool`.
    static Result<DecodedColumn> make(FieldType type,
                                      std::shared_ptr<arrow::ChunkedArray> array,
                                      arrow::MemoryPool& pool);

    /// The rows from `chunk` * HotChunk::kRowsMax; without name and type.
    HotColumnView view(std::size_t chunk) const;

private:
    Result<> decode_fixed(FieldType type, arrow::MemoryPool& pool);
    Result<> decode_text(FieldType type, arrow::MemoryPool& pool);
    bool decode_dictionary(arrow::MemoryPool& pool);
    void copy_validity(arrow::MemoryPool& pool);

    std::shared_ptr<arrow::ChunkedArray> array_;
    std::uint64_t rows_ = 0;
    HotEncoding encoding_ = HotEncoding::kFixed;
    std::vector<std::shared_ptr<arrow::Buffer>> buffers_;  ///< What the pointers view.
    const std::uint64_t* valid_ = nullptr;
    const std::uint64_t* fixed_ = nullptr;
    const TextSpan* spans_ = nullptr;
    const std::uint16_t* codes_ = nullptr;
    std::uint32_t dictionary_size_ = 0;
};

/// The values of a column without nulls. kCorruption: it has some, or is of another width.
template <class Value>
Result<std::vector<Value>> copy_fixed(const arrow::ChunkedArray& array) {
    std::vector<Value> values;
    values.reserve(static_cast<std::size_t>(array.length()));
    for (const auto& chunk : array.chunks()) {
        const auto* fixed = dynamic_cast<const arrow::FixedWidthType*>(chunk->type().get());
        if (fixed == nullptr || fixed->bit_width() != static_cast<int>(8 * sizeof(Value)) ||
            chunk->null_count() != 0) {
            return Error(ErrorCode::kCorruption,
                         "a column of ours has other values than it should");
        }
        const auto* begin = chunk->data()->GetValues<Value>(1);
        values.insert(values.end(), begin, begin + chunk->length());
    }
    return values;
}

}  // namespace molesignal
