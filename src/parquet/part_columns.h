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
    /// column and its arrays.
    PartColumn(std::string column_name,
               FieldId id,
               FieldType type,
               std::vector<const HotColumnView*> views,
               std::span<const RowRef> rows,
               arrow::MemoryPool& pool);

    /// Whether any of `rows` has a value in `views` (by chunk).
    static bool has_value(std::span<const HotColumnView* const> views,
                          std::span<const RowRef> rows);

    const std::string& name() const { return name_; }
    FieldId id() const { return id_; }
    FieldType type() const { return type_; }
    /// Whether arrays have a dictionary. Decided once for the part.
    bool coded() const { return coded_; }
    std::shared_ptr<arrow::DataType> arrow_type() const;

    /// The values of `rows`, in that order.
    std::shared_ptr<arrow::Array> gather(std::span<const RowRef> rows);

    /// Bounds over everything gathered; nothing if there are none (all null, NaN, bytes, JSON).
    bool zone(WrittenZone& zone) const;

private:
    std::shared_ptr<arrow::Array> gather_fixed(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    std::shared_ptr<arrow::Array> gather_plain(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    std::shared_ptr<arrow::Array> gather_coded(std::span<const RowRef> rows,
                                               const SlotLookup& slots);
    void build_dictionary(std::span<const RowRef> rows);
    void note_number(std::uint64_t bits);
    void note_text(std::string_view value);

    arrow::MemoryPool& pool_;
    std::string name_;
    FieldId id_;
    FieldType type_;
    std::vector<const HotColumnView*> views_;  ///< By chunk; null: no value there.
    bool coded_ = false;
    std::vector<std::vector<std::int32_t>> part_codes_;  ///< By chunk and the chunk's code.
    std::shared_ptr<arrow::Array> dictionary_;
    std::vector<std::string_view> dictionary_values_;

    std::uint64_t values_ = 0;
    std::uint64_t nulls_ = 0;
    bool has_nan_ = false;
    std::uint64_t min_bits_ = 0;
    std::uint64_t max_bits_ = 0;
    std::string_view min_text_;
    std::string_view max_text_;
};

}  // namespace molesignal
