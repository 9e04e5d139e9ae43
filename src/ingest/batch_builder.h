#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ingest/decode.h"
#include "model/row_batch.h"

namespace molesignal {

/// Builds a RowBatch field by field and row by row, whatever the protocol: finds columns, lets the
/// last of duplicate names win, sends what may not be a column to `_extra`, undoes rejected rows.
///
/// One thread at a time. `limits` and `settings` outlive it.
class BatchBuilder {
public:
    BatchBuilder(const DecodeLimits& limits, const DecodeSettings& settings);

    /// A field of the current row. The name is the flattened one.
    void add_fixed(std::string_view name, FieldType type, std::uint64_t bits);
    void add_text(std::string_view name, FieldType type, std::string_view value);

    /// Column entry for a name that is likely the next one, without copying; null if it is another.
    /// `raw` points at the name's first byte, which is followed by a quote.
    struct Entry;
    Entry* guess(const char* raw, std::size_t bytes_left, std::size_t& name_bytes);
    void add_fixed(Entry& entry, FieldType type, std::uint64_t bits);
    void add_text(Entry& entry, FieldType type, std::string_view value);

    /// Takes the row's fields back.
    void undo_row();
    /// Ends the row; `time_ns` within the settings' bounds, or the row is rejected.
    void end_row(std::uint64_t index, std::int64_t time_ns, DecodedBatch& out);
    /// Hands the rows over, without columns that are all null.
    void finish(DecodedBatch& out);

    std::uint32_t rows() const { return static_cast<std::uint32_t>(batch_.timestamps.size()); }

    struct Entry {
        std::string name;
        std::array<std::int32_t, 9> column_of_type;  ///< Index into columns, or -1.
        std::uint32_t last_row = UINT32_MAX;
        bool extra = false;  ///< Goes to `_extra`: reserved, too long, too many.
        FieldType pinned = FieldType::kString;
        bool is_pinned = false;
    };

private:
    Entry& entry_of(std::string_view name);
    BatchColumn& column_for(Entry& entry, FieldType type);
    bool goes_to_extra(const Entry& entry, FieldType type) const {
        return entry.extra || (entry.is_pinned && entry.pinned != type);
    }
    void add_extra(std::string_view name,
                   FieldType type,
                   std::uint64_t bits,
                   std::string_view text);

    const DecodeLimits& limits_;
    const DecodeSettings& settings_;
    RowBatch batch_;
    std::vector<std::unique_ptr<Entry>> entries_;
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>{}(text);
        }
    };
    std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
    std::size_t next_guess_ = 0;
    std::size_t new_fields_ = 0;
    std::string extra_;  ///< Members of the row's `_extra` object, without braces.
    std::uint64_t extra_values_ = 0;
};

/// Appends a JSON string literal.
void append_json_text(std::string& out, std::string_view text);

}  // namespace molesignal
