#include "model/hot_chunk.h"

#include <algorithm>

namespace molesignal {

std::uint32_t HotColumnView::sparse_lower_bound(std::uint32_t row) const {
    return static_cast<std::uint32_t>(
        std::lower_bound(sparse_rows, sparse_rows + sparse_size, row) - sparse_rows);
}

std::uint32_t HotColumnView::sparse_slot(std::uint32_t row) const {
    const auto found = sparse_lower_bound(row);
    return found < sparse_size && sparse_rows[found] == row ? found : kNoSlot;
}

const HotColumnView* HotChunk::find(std::string_view name, FieldType type) const {
    for (const auto& column : columns) {
        if (column.type == type && column.name == name) {
            return &column;
        }
    }
    return nullptr;
}

}  // namespace molesignal
