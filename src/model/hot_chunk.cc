#include "model/hot_chunk.h"

namespace molesignal {

const HotColumnView* HotChunk::find(std::string_view name, FieldType type) const {
    for (const auto& column : columns) {
        if (column.type == type && column.name == name) {
            return &column;
        }
    }
    return nullptr;
}

}  // namespace molesignal
