#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ingest/decode.h"
#include "model/row_batch.h"

namespace molesignal {

/// Builds RowBatches field by field and row by row, whatever the protocol: finds columns, lets the
/// last of duplicate names win, sends what may not be a column to `_extra`, undoes rejected rows,
/// ends a batch that has become large.
///
/// Memory is proportional to what the rows hold and bounded by DecodeLimits::decoded_bytes_max and
/// DecodeSettings::memory: after each row the caller asks `failed`. One thread at a time. `limits`
/// and `settings` outlive it.
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
    void end_row(std::uint64_t index, std::int64_t time_ns, DecodedRows& out);
    /// Whether the request needs more memory than it may have: nothing more is to be added.
    bool failed() const { return failure_.has_value(); }
    /// Hands the rows over, without columns that are all null; or says why it failed.
    Result<> finish(DecodedRows& out);

    /// Rows of the batch that is being built.
    std::uint32_t rows() const { return static_cast<std::uint32_t>(batch_.timestamps.size()); }

    struct Entry {
        std::string name;
        std::array<std::int32_t, 9> column_of_type;  ///< Index into columns, or -1.
        bool touched = false;                        ///< Has a value in the current row.
        bool is_new = false;                         ///< The stream did not know it.
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
    bool may_be_column(std::string_view name);
    void reject(std::uint64_t index, RejectReason reason, std::string text, DecodedRows& out);
    void count_bytes(std::uint64_t bytes) {
        batch_bytes_ += bytes;
        if (batch_bytes_ > counted_bytes_ + kCountStepBytes) {
            count_memory();
        }
    }
    void count_memory();
    void forget_row();
    void end_batch(DecodedRows& out);

    /// Memory is counted in steps of this size.
    static constexpr std::uint64_t kCountStepBytes = 256U << 10U;

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
    std::vector<Entry*> touched_;  ///< Entries with a value in the current row.
    Entry overflow_;               ///< Stands for names that are no columns, one at a time.
    std::size_t entries_before_row_ = 0;
    std::size_t columns_before_row_ = 0;
    std::int32_t extra_column_ = -1;
    std::size_t next_guess_ = 0;
    std::size_t new_fields_ = 0;
    std::string extra_;                ///< Members of the row's `_extra` object, without braces.
    std::uint64_t batch_bytes_ = 0;    ///< Of the batch that is being built.
    std::uint64_t counted_bytes_ = 0;  ///< Of them, on the reservation.
    std::uint64_t ended_bytes_ = 0;    ///< Of the batches before.
    MemoryReservation memory_;
    std::optional<Error> failure_;
    std::uint64_t extra_values_ = 0;
};

/// Appends a JSON string literal.
void append_json_text(std::string& out, std::string_view text);
/// Appends the bytes in base64.
void append_base64(std::string& out, std::string_view bytes);

}  // namespace molesignal
