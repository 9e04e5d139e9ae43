#include "index/sidecar_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "common/assert.h"
#include "common/crc32c.h"
#include "index/text/text_builder.h"
#include "index/tokens.h"
#include "index/value_builder.h"

namespace molesignal {
namespace {

/// Rows between two looks at the memory that a field takes.
constexpr std::uint32_t kCheckRows = 1'024;
/// Areas up to this size go to the end of the file.
constexpr std::size_t kSmallAreaBytes = 16 * 1024;

constexpr std::array<std::string_view, 9> kTextFields = {
    "body", "message", "msg", "log", "_msg", "text", "error", "exception", "stacktrace"};

}  // namespace

bool is_text_field_name(std::string_view name) {
    std::string folded;
    fold_case(name, folded);
    return std::ranges::find(kTextFields, folded) != kTextFields.end();
}

bool is_text_field(std::string_view name, const std::vector<std::string>& text_fields) {
    return is_text_field_name(name) || std::ranges::find(text_fields, name) != text_fields.end();
}

SidecarWriter::SidecarWriter(SidecarWriterOptions options, std::shared_ptr<MemoryBudget> memory)
    : table_seed_(options.table_seed),
      pass_rows_max_(options.pass_rows_max),
      rows_(options.rows),
      memory_(std::move(memory)) {
    MS_ASSERT(rows_ <= kSidecarRowsMax);
    MS_ASSERT(pass_rows_max_ > 0);
    MS_ASSERT(options.parts.empty() || options.parts.size() == rows_);
    directory_ = {.rows = rows_,
                  .tokenizer_id = kTokenizerId,
                  .tokenizer_version = kTokenizerVersion,
                  .all_fields_listed = options.all_fields_listed,
                  .fields = {},
                  .parts = std::move(options.parts)};
}

SidecarWriter::~SidecarWriter() = default;

void SidecarWriter::begin(FieldId id, std::unique_ptr<FieldBuilder> builder) {
    MS_ASSERT(builder_ == nullptr);
    builder_ = std::move(builder);
    field_ = {.id = id};
    next_row_ = 0;
    next_check_row_ = 0;
    added_rows_ = 0;
    failure_.reset();
}

void SidecarWriter::begin_text_field(FieldId id) {
    begin(id, std::make_unique<TextBuilder>(rows_, table_seed_));
}

void SidecarWriter::begin_value_field(FieldId id) {
    const auto passes = (rows_ + pass_rows_max_ - 1) / pass_rows_max_;
    const auto pass_bits = static_cast<unsigned>(std::bit_width(std::max(passes, 1U) - 1));
    begin(id, std::make_unique<ValueBuilder>(rows_, table_seed_, pass_bits));
}

void SidecarWriter::list_field(FieldId id, std::uint64_t present_rows) {
    MS_ASSERT(builder_ == nullptr);
    directory_.fields.push_back({.id = id, .present_rows = present_rows});
}

void SidecarWriter::check_memory() {
    const auto bytes = file_.capacity() + small_bytes_ + builder_->capacity_bytes();
    if (auto counted = memory_.resize(static_cast<std::int64_t>(bytes)); !counted) {
        failure_ = std::move(counted).error();
    }
}

void SidecarWriter::add(std::uint32_t row, std::string_view value) {
    MS_ASSERT(row >= next_row_);
    MS_ASSERT(row < rows_);
    next_row_ = row + 1;
    ++added_rows_;
    if (failure_) [[unlikely]] {
        return;
    }
    builder_->add(row, value);
    if (row >= next_check_row_) {
        next_check_row_ = row + kCheckRows;
        check_memory();
    }
}

void SidecarWriter::append_area(SidecarField& field, AreaKind kind, ByteBuffer bytes) {
    SidecarArea area{.kind = kind, .offset = file_.size(), .bytes = bytes.size()};
    constexpr std::size_t kBlock = 1U << kSidecarBlockBits;
    for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
        area.block_crcs.push_back(
            crc32c(Bytes(bytes).subspan(at, std::min(kBlock, bytes.size() - at))));
    }
    append_bytes(file_, bytes);
    field.areas.push_back(std::move(area));
}

bool SidecarWriter::next_pass() {
    MS_ASSERT(builder_ != nullptr);
    if (failure_) {
        return false;
    }
    check_memory();
    if (auto grown = memory_.grow(static_cast<std::int64_t>(builder_->finish_bytes())); !grown) {
        failure_ = std::move(grown).error();
    }
    if (failure_ || !builder_->next_pass()) {
        return false;
    }
    next_row_ = 0;
    next_check_row_ = 0;
    added_rows_ = 0;
    return true;
}

Result<> SidecarWriter::end_field() {
    MS_ASSERT(builder_ != nullptr);
    if (!failure_) {
        check_memory();
    }
    if (!failure_) {
        if (auto grown = memory_.grow(static_cast<std::int64_t>(builder_->finish_bytes()));
            !grown) {
            failure_ = std::move(grown).error();
        }
    }
    BuiltField built{.present_rows = added_rows_};
    if (!failure_) {
        built = builder_->finish();
    }
    builder_.reset();
    field_.kind = built.kind;
    field_.present_rows = built.present_rows;
    field_.distinct = built.distinct;
    field_.text = built.text;
    field_.hashes = built.hashes;
    add_areas(field_, std::move(built.areas));
    directory_.fields.push_back(std::move(field_));
    memory_.force_resize(static_cast<std::int64_t>(file_.capacity() + small_bytes_));
    if (failure_) {
        return std::move(*std::exchange(failure_, std::nullopt));
    }
    return {};
}

void SidecarWriter::add_areas(SidecarField& field,
                              std::vector<std::pair<AreaKind, ByteBuffer>> areas) {
    for (auto& [kind, bytes] : areas) {
        if (bytes.size() <= kSmallAreaBytes) {
            small_bytes_ += bytes.capacity();
            small_areas_.push_back({directory_.fields.size(), kind, std::move(bytes)});
        } else {
            append_area(field, kind, std::move(bytes));
        }
    }
}

Result<> SidecarWriter::add_table(FieldId id,
                                  std::uint64_t present_rows,
                                  const HashShape& shape,
                                  EncodedTable table) {
    MS_ASSERT(builder_ == nullptr);
    // Beside the table, the file that has it may be moved while it grows.
    MS_TRY_VOID(memory_.resize(static_cast<std::int64_t>(
        file_.capacity() * 2 + small_bytes_ + (table.hashes.size() + table.index.size()) * 2)));
    SidecarField field{.id = id,
                       .kind = FieldIndexKind::kHashed,
                       .present_rows = present_rows,
                       .distinct = shape.entries,
                       .hashes = shape};
    std::vector<std::pair<AreaKind, ByteBuffer>> areas;
    areas.emplace_back(AreaKind::kHashes, std::move(table.hashes));
    areas.emplace_back(AreaKind::kHashIndex, std::move(table.index));
    add_areas(field, std::move(areas));
    directory_.fields.push_back(std::move(field));
    memory_.force_resize(static_cast<std::int64_t>(file_.capacity() + small_bytes_));
    return {};
}

Result<ByteBuffer> SidecarWriter::finish() {
    MS_ASSERT(builder_ == nullptr);
    for (auto& area : small_areas_) {
        append_area(directory_.fields[area.field], area.kind, std::move(area.bytes));
    }
    for (auto& field : directory_.fields) {
        std::ranges::sort(field.areas, {}, &SidecarArea::kind);
    }
    std::ranges::sort(directory_.fields, {}, &SidecarField::id);
    const auto same = std::ranges::adjacent_find(directory_.fields, {}, &SidecarField::id);
    if (same != directory_.fields.end() || directory_.fields.size() > kSidecarFieldsMax) {
        return Error(ErrorCode::kInternal, "index sidecar: a field came twice, or too many came");
    }
    append_directory(directory_, file_);
    memory_.reset();
    return std::move(file_);
}

}  // namespace molesignal
