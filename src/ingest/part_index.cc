#include "ingest/part_index.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "common/log.h"
#include "index/sidecar_writer.h"
#include "parquet/slot_lookup.h"

namespace molesignal {
namespace {

using Views = std::vector<const HotColumnView*>;

/// The columns of the chunks by name and type, in the order of their ids.
Result<std::map<std::int32_t, Views>> columns_by_id(std::span<const HotChunk> chunks,
                                                    const StreamSchema& schema) {
    std::map<std::int32_t, Views> columns;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        for (const auto& column : chunks[i].columns) {
            auto id = FieldId{kExtraFieldId};
            if (column.name != kExtraField) {
                const auto* variant = schema.find(column.name, column.type);
                if (variant == nullptr) {
                    return Error(ErrorCode::kInternal,
                                 fmt::format("field '{}' ({}) has no id",
                                             column.name,
                                             field_type_name(column.type)));
                }
                id = variant->id;
            }
            auto& views = columns[id.value];
            views.resize(chunks.size(), nullptr);
            views[i] = &column;
        }
    }
    return columns;
}

const HotColumnView& any_of(const Views& views) {
    return **std::ranges::find_if(views, [](const auto* view) { return view != nullptr; });
}

class PartIndex {
public:
    PartIndex(const PartSlice& slice,
              const std::vector<std::string>& text_fields,
              std::uint64_t table_seed,
              const std::shared_ptr<MemoryBudget>& memory)
        : rows_(slice.rows),
          text_fields_(text_fields),
          writer_(options_for(slice, table_seed), memory) {}

    Result<> add(FieldId id, const Views& views) {
        const SlotLookup slots(views);
        const auto& column = any_of(views);
        if (column.type == FieldType::kString || column.type == FieldType::kBytes) {
            return add_values(id, column, views, slots);
        }
        std::uint64_t present = 0;
        for (const auto row : rows_) {
            present += slots.slot(row) == HotColumnView::kNoSlot ? 0 : 1;
        }
        if (present > 0) {
            writer_.list_field(id, present);
        }
        return {};
    }

    Result<ByteBuffer> finish() { return writer_.finish(); }

private:
    static SidecarWriterOptions options_for(const PartSlice& slice, std::uint64_t table_seed) {
        return {.rows = static_cast<std::uint32_t>(slice.rows.size()),
                .all_fields_listed = true,
                .table_seed = table_seed};
    }

    Result<> add_values(FieldId id,
                        const HotColumnView& column,
                        const Views& views,
                        const SlotLookup& slots) {
        bool begun = false;
        for (std::uint32_t row = 0; row < rows_.size(); ++row) {
            const auto slot = slots.slot(rows_[row]);
            if (slot == HotColumnView::kNoSlot) {
                continue;
            }
            if (!begun) {
                begun = true;
                if (column.type == FieldType::kString && is_text_field(column.name, text_fields_)) {
                    writer_.begin_text_field(id);
                } else {
                    writer_.begin_value_field(id);
                }
            }
            writer_.add(row, views[rows_[row].chunk()]->text(slot));
        }
        if (!begun) {
            return {};
        }
        auto ended = writer_.end_field();
        if (!ended && ended.error().code() == ErrorCode::kResourceExhausted) {
            log_warn("a field of a part is not indexed",
                     {{"field", column.name}, {"error", ended.error().message()}});
            return {};
        }
        return ended;
    }

    std::span<const RowRef> rows_;
    const std::vector<std::string>& text_fields_;
    SidecarWriter writer_;
};

}  // namespace

Result<ByteBuffer> write_part_index(const PartSlice& slice,
                                    std::span<const HotChunk> chunks,
                                    const StreamSchema& schema,
                                    const std::vector<std::string>& text_fields,
                                    std::uint64_t table_seed,
                                    const std::shared_ptr<MemoryBudget>& memory) {
    MS_TRY(const auto columns, columns_by_id(chunks, schema));
    PartIndex index(slice, text_fields, table_seed, memory);
    for (const auto& [id, views] : columns) {
        MS_TRY_VOID(index.add(FieldId{id}, views));
    }
    return index.finish();
}

}  // namespace molesignal
