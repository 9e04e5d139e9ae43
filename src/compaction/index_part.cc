#include "compaction/index_part.h"

#include "common/log.h"
#include "index/sidecar_writer.h"

namespace molesignal {
namespace {

bool has_texts(FieldType type) {
    return type == FieldType::kString || type == FieldType::kBytes;
}

class SpanIndex {
public:
    SpanIndex(PartReader& part,
              const GroupSpan& groups,
              IndexScope scope,
              const IndexBuild& build,
              const Pace& pace,
              const std::shared_ptr<MemoryBudget>& memory)
        : part_(part),
          groups_(groups),
          scope_(scope),
          text_fields_(build.text_fields),
          pace_(pace),
          writer_(options_for(part, groups, scope, build), memory) {}

    Result<> add(std::size_t column) {
        const auto& field = part_.columns()[column];
        if (scope_ == IndexScope::kTexts && !is_text(field)) {
            return {};
        }
        begun_ = false;
        std::uint64_t present = 0;
        do {
            MS_TRY(present, add_column(field, column));
        } while (begun_ && writer_.next_pass());
        if (present == 0) {
            return {};
        }
        if (!is_indexed(field)) {
            writer_.list_field(field.id, present);
            return {};
        }
        auto ended = writer_.end_field();
        if (!ended && ended.error().code() == ErrorCode::kResourceExhausted) {
            log_warn("a field of a part is not indexed",
                     {{"field", field.field}, {"error", ended.error().message()}});
            return {};
        }
        return ended;
    }

    Result<ByteBuffer> finish() { return writer_.finish(); }

private:
    static SidecarWriterOptions options_for(const PartReader& part,
                                            const GroupSpan& groups,
                                            IndexScope scope,
                                            const IndexBuild& build) {
        std::uint64_t rows = 0;
        for (auto group = groups.begin; group < groups.end; ++group) {
            rows += part.group_rows(group);
        }
        return {.rows = static_cast<std::uint32_t>(rows),
                .all_fields_listed = scope != IndexScope::kTexts,
                .table_seed = build.table_seed,
                .pass_rows_max = build.id_rows_max};
    }

    bool is_text(const PartFileColumn& field) const {
        return field.type == FieldType::kString && is_text_field(field.field, text_fields_);
    }
    bool is_indexed(const PartFileColumn& field) const {
        return has_texts(field.type) && (scope_ != IndexScope::kValues || !is_text(field));
    }

    /// Returns how many rows have a value.
    Result<std::uint64_t> add_column(const PartFileColumn& field, std::size_t column) {
        std::uint64_t present = 0;
        std::uint32_t first_row = 0;
        for (auto group = groups_.begin; group < groups_.end; ++group) {
            MS_TRY(const auto chunks, part_.read_column(group, column));
            for (const auto& chunk : chunks) {
                present += add_rows(field, chunk, first_row);
                first_row += chunk.rows;
            }
            MS_TRY_VOID(pace_(0));
        }
        return present;
    }
    std::uint64_t add_rows(const PartFileColumn& field,
                           const HotChunk& chunk,
                           std::uint32_t first_row) {
        const auto& view = chunk.columns.front();
        std::uint64_t present = 0;
        for (std::uint32_t row = 0; row < chunk.rows; ++row) {
            const auto slot = view.slot(row);
            if (slot == HotColumnView::kNoSlot) {
                continue;
            }
            ++present;
            if (!is_indexed(field)) {
                continue;
            }
            if (!begun_) {
                begin(field);
            }
            writer_.add(first_row + row, view.text(slot));
        }
        return present;
    }

    void begin(const PartFileColumn& field) {
        begun_ = true;
        if (is_text(field)) {
            writer_.begin_text_field(field.id);
        } else {
            writer_.begin_value_field(field.id);
        }
    }

    PartReader& part_;
    GroupSpan groups_;
    IndexScope scope_;
    const std::vector<std::string>& text_fields_;
    const Pace& pace_;
    SidecarWriter writer_;
    bool begun_ = false;
};

}  // namespace

std::vector<GroupSpan> index_spans(const PartReader& part, std::uint64_t rows_max) {
    std::vector<GroupSpan> spans;
    std::uint64_t rows = 0;
    for (std::size_t group = 0; group < part.groups(); ++group) {
        const auto more = part.group_rows(group);
        if (spans.empty() || rows + more > rows_max) {
            spans.push_back({.begin = group, .end = group});
            rows = 0;
        }
        rows += more;
        spans.back().end = group + 1;
    }
    return spans;
}

Result<ByteBuffer> index_part(PartReader& part,
                              const GroupSpan& groups,
                              IndexScope scope,
                              const IndexBuild& build,
                              const Pace& pace,
                              const std::shared_ptr<MemoryBudget>& memory) {
    SpanIndex index(part, groups, scope, build, pace, memory);
    for (std::size_t column = 0; column < part.columns().size(); ++column) {
        MS_TRY_VOID(index.add(column));
    }
    return index.finish();
}

}  // namespace molesignal
