#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/hot_chunk.h"
#include "model/schema.h"
#include "parquet/part_plan.h"
#include "parquet/part_writer.h"
#include "parquet/zone_bounds.h"

namespace arrow {
class Array;
class DataType;
class MemoryPool;
}  // namespace arrow

namespace molesignal {

class SlotLookup;

/// One user column of a part: finds its values in the chunks and gathers a row group's worth of
/// them. One thread at a time.
class PartColumn {
public:
    /// `rows` are all rows that will be gathered; used during the call only. `pool` outlives the
    /// column and its arrays. `views` may all be null: every row is. Without `may_code` arrays have
    /// no dictionary.
    PartColumn(std::string column_name,
               FieldId id,
               FieldType type,
               std::vector<const HotColumnView*> views,
               std::span<const RowRef> rows,
               arrow::MemoryPool& pool,
               bool may_code = true);

    /// Whether any of `rows` has a value in `views` (by chunk).
    static bool has_value(std::span<const HotColumnView* const> views,
                          std::span<const RowRef> rows);

    const std::string& name() const { return name_; }
    FieldId id() const { return id_; }
    FieldType type() const { return type_; }
    /// Whether the column is worth a dictionary: texts, whose arrays have it then, and numbers of
    /// few values. Decided once for the part.
    bool coded() const { return coded_; }
    std::shared_ptr<arrow::DataType> arrow_type() const;

    /// The values of `rows`, in that order.
    std::shared_ptr<arrow::Array> gather(std::span<const RowRef> rows);

    /// Over everything gathered; their texts lie in the views.
    const ZoneBounds& bounds() const { return bounds_; }

private:
    std::shared_ptr<arrow::Array> gather_fixed(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    std::shared_ptr<arrow::Array> gather_plain(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    std::shared_ptr<arrow::Array> gather_coded(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    void build_dictionary(std::span<const RowRef> rows);
    bool has_few_numbers(std::span<const RowRef> rows) const;

    arrow::MemoryPool& pool_;
    std::string name_;
    FieldId id_;
    FieldType type_;
    std::vector<const HotColumnView*> views_;  ///< By chunk; null: no value there.
    bool coded_ = false;
    std::vector<std::vector<std::int32_t>> part_codes_;  ///< By chunk and the text's place there.
    std::shared_ptr<arrow::Array> dictionary_;
    std::vector<std::string_view> dictionary_values_;
    ZoneBounds bounds_;
};

}  // namespace molesignal
