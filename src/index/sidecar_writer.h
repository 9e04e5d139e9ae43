#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "index/field_builder.h"
#include "index/hash_table.h"
#include "index/sidecar_format.h"

namespace molesignal {

/// Whether a field of this name is taken to hold texts, to be searched by words: body, message,
/// msg, log, _msg, text, error, exception, stacktrace, in any case.
bool is_text_field_name(std::string_view name);
/// Whether a field is to be searched by words: its stream says so, or its name does.
bool is_text_field(std::string_view name, const std::vector<std::string>& text_fields);

struct SidecarWriterOptions {
    std::uint32_t rows = 0;  ///< Of the part.
    /// Of a pack of ids: what its rows stand for, `rows` of them.
    std::vector<std::string> parts = {};
    /// The caller begins or lists every field that has a value in the part. Then a look-up in any
    /// other field finds exactly nothing; otherwise nothing is known of such a field.
    bool all_fields_listed = false;
    /// Of the hash tables while building; not to be guessed by who chooses the values. The bytes do
    /// not depend on it.
    std::uint64_t table_seed = 0;
    /// Rows of a part above which a field of ids wants its values in several passes (next_pass).
    std::uint32_t pass_rows_max = kSidecarRowsMax;
};

/// Writes the index of one part, field by field:
///
///     SidecarWriter writer({.rows = 200'000}, memory);
///     writer.begin_text_field(message_id);
///     for (row…) writer.add(row, text);      // ascending; rows without a value are left out
///     MS_TRY_VOID(writer.end_field());
///     MS_TRY(const auto file, writer.finish());
///
/// The bytes depend on the values only. What the writer allocates is counted on
/// `memory`: at most one field is being built, beside the finished fields' encoded bytes. One
/// thread at a time.
class SidecarWriter {
public:
    SidecarWriter(SidecarWriterOptions options, std::shared_ptr<MemoryBudget> memory);
    ~SidecarWriter();
    SidecarWriter(const SidecarWriter&) = delete;
    SidecarWriter& operator=(const SidecarWriter&) = delete;

    /// Begins a field that is searched by words. Each id at most once, in any order.
    void begin_text_field(FieldId id);
    /// Begins a field that is asked for whole values: texts, or the bytes of ids. What it gets is
    /// decided by its values (FieldIndexKind).
    void begin_value_field(FieldId id);
    /// Notes a field that has a value in exactly `present_rows` rows and gets no structure.
    void list_field(FieldId id, std::uint64_t present_rows);

    /// Adds the value of `row`, which is higher than the rows before. Memory that is not there
    /// shows in end_field().
    void add(std::uint32_t row, std::string_view value);

    /// After the last value of the field: whether it wants all of them once more, from the first
    /// row. Only with `pass_rows_max`.
    bool next_pass();
    /// Encodes the field. kResourceExhausted: `memory` did not have enough; the field was dropped
    /// and is listed without a structure, and the writer goes on.
    Result<> end_field();

    /// Adds a field with a table of ids that is made already. kResourceExhausted: there is no
    /// memory for it; nothing was added.
    Result<> add_table(FieldId id,
                       std::uint64_t present_rows,
                       const HashShape& shape,
                       EncodedTable table);

    /// The whole sidecar; the writer is used up.
    Result<ByteBuffer> finish();

private:
    void begin(FieldId id, std::unique_ptr<FieldBuilder> builder);
    void check_memory();
    void append_area(SidecarField& field, AreaKind kind, ByteBuffer bytes);
    void add_areas(SidecarField& field, std::vector<std::pair<AreaKind, ByteBuffer>> areas);

    std::uint64_t table_seed_;
    std::uint32_t pass_rows_max_;
    std::uint32_t rows_;
    MemoryReservation memory_;
    SidecarDirectory directory_;
    ByteBuffer file_;
    /// Small areas, which come last so that a read of the end gets them too.
    struct SmallArea {
        std::size_t field;
        AreaKind kind;
        ByteBuffer bytes;
    };
    std::vector<SmallArea> small_areas_;
    std::size_t small_bytes_ = 0;
    // The field that is being built.
    std::unique_ptr<FieldBuilder> builder_;
    SidecarField field_;
    std::uint32_t next_row_ = 0;
    std::uint32_t next_check_row_ = 0;
    std::uint64_t added_rows_ = 0;
    std::optional<Error> failure_;
};

}  // namespace molesignal
