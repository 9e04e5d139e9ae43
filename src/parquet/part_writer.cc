#include "parquet/part_writer.h"

#include <algorithm>
#include <map>

#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <arrow/memory_pool.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>
#include <parquet/arrow/writer.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include "common/assert.h"
#include "parquet/part_columns.h"
#include "parquet/part_file.h"

namespace molesignal {
namespace {

Error write_error(const arrow::Status& status) {
    return parquet_error("write Parquet", status);
}

/// Arrow's output goes straight into the buffer that is handed out.
class BufferStream final : public arrow::io::OutputStream {
public:
    explicit BufferStream(ByteBuffer& out) : out_(out) {}
    arrow::Status Close() override {
        closed_ = true;
        return arrow::Status::OK();
    }
    bool closed() const override { return closed_; }
    arrow::Result<std::int64_t> Tell() const override {
        return static_cast<std::int64_t>(out_.size());
    }
    arrow::Status Write(const void* data, std::int64_t size) override {
        append_bytes(out_,
                     Bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(size)));
        return arrow::Status::OK();
    }
    using arrow::io::OutputStream::Write;

private:
    ByteBuffer& out_;
    bool closed_ = false;
};

/// What the columns of a file are: ours first, then one for each (name, type) of the rows.
class PartFile {
public:
    PartFile(std::span<const HotChunk> chunks, ShardId shard, arrow::MemoryPool& pool)
        : chunks_(chunks), shard_(shard), pool_(pool) {}

    Result<> plan_columns(const StreamSchema& schema, std::span<const RowRef> rows) {
        std::vector<std::pair<std::string, FieldType>> found;
        std::map<std::pair<std::string, FieldType>, std::vector<const HotColumnView*>> views;
        for (std::size_t i = 0; i < chunks_.size(); ++i) {
            for (const auto& column : chunks_[i].columns) {
                auto key = std::pair(std::string(column.name), column.type);
                auto& entry = views[key];
                if (entry.empty()) {
                    entry.assign(chunks_.size(), nullptr);
                    found.push_back(std::move(key));
                }
                entry[i] = &column;
            }
        }
        PartColumnNames names;
        for (const auto& key : found) {
            if (!PartColumn::has_value(views.at(key), rows)) {
                continue;  // Other parts of the flush have values; this one does not list it.
            }
            FieldId id{kExtraFieldId};
            if (key.first != kExtraField) {
                const auto* variant = schema.find(key.first, key.second);
                if (variant == nullptr) {
                    return Error(
                        ErrorCode::kInternal,
                        fmt::format(
                            "field '{}' ({}) has no id", key.first, field_type_name(key.second)));
                }
                id = variant->id;
            }
            columns_.emplace_back(names.take(key.first, key.second),
                                  id,
                                  key.second,
                                  std::move(views.at(key)),
                                  rows,
                                  pool_);
        }
        return {};
    }

    std::shared_ptr<arrow::Schema> schema() const {
        auto fields = own_part_fields();
        for (const auto& column : columns_) {
            fields.push_back(
                part_field(column.name(), column.arrow_type(), true, column.id().value));
        }
        return arrow::schema(std::move(fields));
    }

    std::shared_ptr<parquet::WriterProperties> properties(const PartWriterOptions& options) const {
        std::vector<ManyValuedColumn> many_valued;
        for (const auto& column : columns_) {
            if (!column.coded()) {
                many_valued.push_back({column.name(), column.type()});
            }
        }
        return part_properties(options, many_valued, pool_);
    }

    /// Writes `rows` as one row group, column after column, so that one is in memory at a time.
    arrow::Status write_group(parquet::arrow::FileWriter& writer,
                              std::span<const RowRef> rows,
                              WrittenPart& part) {
        ARROW_RETURN_NOT_OK(writer.NewRowGroup());
        for (const auto& array : own_columns(rows, part)) {
            ARROW_RETURN_NOT_OK(writer.WriteColumnChunk(*array));
        }
        for (auto& column : columns_) {
            ARROW_RETURN_NOT_OK(writer.WriteColumnChunk(*column.gather(rows)));
        }
        return arrow::Status::OK();
    }

    void describe(WrittenPart& part) const {
        for (const auto& column : columns_) {
            if (column.id().value == kExtraFieldId) {
                continue;
            }
            part.fields.push_back(column.id());
            if (WrittenZone zone; column.bounds().zone(column.id(), zone)) {
                part.zone_maps.push_back(std::move(zone));
            }
        }
    }

private:
    std::vector<std::shared_ptr<arrow::Array>> own_columns(std::span<const RowRef> rows,
                                                           WrittenPart& part) {
        OwnPartColumns own(rows.size(), pool_);
        auto smallest = UINT64_MAX;
        auto largest = std::uint64_t{0};
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto& chunk = chunks_[rows[i].chunk()];
            const auto position = chunk.first_position.value + rows[i].row();
            own.set(i, chunk.timestamps[rows[i].row()], shard_.value, position);
            smallest = std::min(smallest, position);
            largest = std::max(largest, position);
        }
        part.position_begin =
            part.rows == 0 ? Position{smallest} : std::min(part.position_begin, Position{smallest});
        part.position_end = std::max(part.position_end, Position{largest + 1});
        part.rows += rows.size();
        return own.arrays();
    }

    std::span<const HotChunk> chunks_;
    ShardId shard_;
    arrow::MemoryPool& pool_;
    std::vector<PartColumn> columns_;
};

Result<> write_groups(const PartSlice& slice,
                      PartFile& file,
                      arrow::MemoryPool& pool,
                      const PartWriterOptions& options,
                      WrittenPart& part) {
    const auto schema = file.schema();
    auto stream = std::make_shared<BufferStream>(part.file);
    auto opened =
        parquet::arrow::FileWriter::Open(*schema, &pool, stream, file.properties(options));
    if (!opened.ok()) {
        return write_error(opened.status());
    }
    const auto writer = std::move(opened).ValueUnsafe();
    std::size_t begin = 0;
    for (const auto end : slice.group_ends) {
        if (const auto status =
                file.write_group(*writer, std::span(slice.rows).subspan(begin, end - begin), part);
            !status.ok()) {
            return write_error(status);
        }
        begin = end;
    }
    if (const auto status = writer->AddKeyValueMetadata(part_metadata(part.sort_order));
        !status.ok()) {
        return write_error(status);
    }
    if (const auto status = writer->Close(); !status.ok()) {
        return write_error(status);
    }
    part.row_groups = row_groups_of(*writer->metadata());
    return {};
}

}  // namespace

Result<WrittenPart> write_part(const PartSlice& slice,
                               std::span<const HotChunk> chunks,
                               const StreamSchema& schema,
                               ShardId shard,
                               const PartWriterOptions& options,
                               const std::shared_ptr<MemoryBudget>& memory) {
    WrittenPart part;
    part.time_min_ns = slice.time_min_ns;
    part.time_max_ns = slice.time_max_ns;
    part.sort_order =
        slice.sort_field.empty() ? "_timestamp desc" : slice.sort_field + ", _timestamp desc";
    BudgetPool pool(memory);
    PartFile file(chunks, shard, pool);
    MS_TRY_VOID(file.plan_columns(schema, slice.rows));
    MS_TRY_VOID(write_groups(slice, file, pool, options, part));
    file.describe(part);
    return part;
}

}  // namespace molesignal
