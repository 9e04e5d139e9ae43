#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/hot_chunk.h"
#include "parquet/part_plan.h"

namespace molesignal {

/// Slots of rows by chunk. Rows come in any order, so a sparse view's slots are spread out first: a
/// search for each row would cost more than the values are worth.
class SlotLookup {
public:
    explicit SlotLookup(std::span<const HotColumnView* const> views)
        : views_(views), spread_(views.size()) {
        for (std::size_t chunk = 0; chunk < views.size(); ++chunk) {
            const auto* view = views[chunk];
            if (view == nullptr || !view->is_sparse()) {
                continue;
            }
            auto& slots = spread_[chunk];
            slots.assign(HotChunk::kRowsMax, kNone);
            for (std::uint32_t slot = 0; slot < view->sparse_size; ++slot) {
                slots[view->sparse_rows[slot]] = static_cast<std::uint16_t>(slot);
            }
        }
    }

    /// HotColumnView::kNoSlot: the row is null.
    std::uint32_t slot(RowRef ref) const {
        const auto chunk = ref.chunk();
        const auto* view = views_[chunk];
        if (view == nullptr) {
            return HotColumnView::kNoSlot;
        }
        if (spread_[chunk].empty()) {
            return view->slot(ref.row());
        }
        const auto found = spread_[chunk][ref.row()];
        return found == kNone ? HotColumnView::kNoSlot : found;
    }

private:
    static constexpr std::uint16_t kNone = UINT16_MAX;
    std::span<const HotColumnView* const> views_;
    std::vector<std::vector<std::uint16_t>> spread_;
};

}  // namespace molesignal
