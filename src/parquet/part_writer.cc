#include "parquet/part_writer.h"

#include <algorithm>
#include <map>
#include <set>

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

namespace molesignal {
namespace {

constexpr std::string_view kFormatVersion = "1";

Error arrow_error(const arrow::Status& status) {
    const auto code = status.IsOutOfMemory() ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
    return {code, fmt::format("write Parquet: {}", status.ToString())};
}

/// Arrow's system memory pool, with every byte counted on a budget. Memory is never refused: what
/// a flush needs it must get, and the budget's other users wait. Thread-safe; the budget may be
/// null.
class BudgetPool final : public arrow::MemoryPool {
public:
    explicit BudgetPool(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}

    using arrow::MemoryPool::Allocate;
    using arrow::MemoryPool::Free;
    using arrow::MemoryPool::Reallocate;
    arrow::Status Allocate(std::int64_t size, std::int64_t alignment, std::uint8_t** out) override {
        auto status = pool_->Allocate(size, alignment, out);
        if (status.ok()) {
            stats_.DidAllocateBytes(size);
            count(size);
        }
        return status;
    }
    arrow::Status Reallocate(std::int64_t old_size,
                             std::int64_t new_size,
                             std::int64_t alignment,
                             std::uint8_t** place) override {
        auto status = pool_->Reallocate(old_size, new_size, alignment, place);
        if (status.ok()) {
            stats_.DidReallocateBytes(old_size, new_size);
            count(new_size - old_size);
        }
        return status;
    }
    void Free(std::uint8_t* place, std::int64_t size, std::int64_t alignment) override {
        pool_->Free(place, size, alignment);
        stats_.DidFreeBytes(size);
        count(-size);
    }
    std::int64_t bytes_allocated() const override { return stats_.bytes_allocated(); }
    std::int64_t max_memory() const override { return stats_.max_memory(); }
    std::int64_t total_bytes_allocated() const override { return stats_.total_bytes_allocated(); }
    std::int64_t num_allocations() const override { return stats_.num_allocations(); }
    std::string backend_name() const override { return pool_->backend_name(); }

private:
    void count(std::int64_t bytes) {
        if (budget_ == nullptr) {
            return;
        }
        if (bytes >= 0) {
            budget_->force_reserve(bytes);
        } else {
            budget_->release(-bytes);
        }
    }

    std::shared_ptr<MemoryBudget> budget_;
    // The process's malloc: the pools of Arrow's package keep what is freed (decision 0015).
    arrow::MemoryPool* pool_ = arrow::system_memory_pool();
    arrow::internal::MemoryPoolStats stats_;
};

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

std::shared_ptr<arrow::Field> field_of(const std::string& name,
                                       std::shared_ptr<arrow::DataType> type,
                                       bool nullable,
                                       std::int32_t id) {
    return arrow::field(name,
                        std::move(type),
                        nullable,
                        arrow::key_value_metadata({"PARQUET:field_id"}, {std::to_string(id)}));
}

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
        std::set<std::string> taken;
        for (const auto name :
             {kTimestampField, kTimestampNanosField, kShardField, kPositionField}) {
            taken.insert(std::string(name));
        }
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
            // Readers that go by name need distinct names; we go by id.
            auto name = key.first;
            if (!taken.insert(name).second) {
                name = fmt::format("{}__{}", key.first, field_type_name(key.second));
                for (int suffix = 2; !taken.insert(name).second; ++suffix) {
                    name = fmt::format("{}__{}_{}", key.first, field_type_name(key.second), suffix);
                }
            }
            columns_.emplace_back(
                std::move(name), id, key.second, std::move(views.at(key)), rows, pool_);
        }
        return {};
    }

    std::shared_ptr<arrow::Schema> schema() const {
        std::vector<std::shared_ptr<arrow::Field>> fields = {
            field_of(std::string(kTimestampField),
                     arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
                     false,
                     kTimestampFieldId),
            field_of(
                std::string(kTimestampNanosField), arrow::int16(), false, kTimestampNanosFieldId),
            field_of(std::string(kShardField), arrow::int64(), false, kShardFieldId),
            field_of(std::string(kPositionField), arrow::int64(), false, kPositionFieldId)};
        for (const auto& column : columns_) {
            fields.push_back(field_of(column.name(), column.arrow_type(), true, column.id().value));
        }
        return arrow::schema(std::move(fields));
    }

    std::shared_ptr<parquet::WriterProperties> properties(const PartWriterOptions& options) const {
        parquet::WriterProperties::Builder builder;
        builder.compression(parquet::Compression::ZSTD)
            ->compression_level(options.zstd_level)
            ->max_row_group_length(static_cast<std::int64_t>(options.rows_per_group))
            ->enable_write_page_index()
            ->enable_page_checksum()
            ->memory_pool(&pool_)
            ->created_by("molesignal");
        for (const auto name : {kTimestampField, kPositionField, kShardField}) {
            const std::string path(name);
            builder.disable_dictionary(path)->encoding(path,
                                                       parquet::Encoding::DELTA_BINARY_PACKED);
        }
        for (const auto& column : columns_) {
            if (is_variable_width(column.type()) && !column.coded()) {
                builder.disable_dictionary(column.name())
                    ->encoding(column.name(), parquet::Encoding::DELTA_LENGTH_BYTE_ARRAY);
            }
        }
        return builder.build();
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
            if (WrittenZone zone; column.zone(zone)) {
                part.zone_maps.push_back(std::move(zone));
            }
        }
    }

private:
    std::shared_ptr<arrow::Buffer> allocate(std::int64_t bytes) {
        auto buffer = arrow::AllocateBuffer(bytes, &pool_);
        MS_ASSERT(buffer.ok());
        return std::move(buffer).ValueUnsafe();
    }

    std::vector<std::shared_ptr<arrow::Array>> own_columns(std::span<const RowRef> rows,
                                                           WrittenPart& part) {
        const auto count = static_cast<std::int64_t>(rows.size());
        const auto times = allocate(count * 8);
        const auto nanos = allocate(count * 2);
        const auto shards = allocate(count * 8);
        const auto positions = allocate(count * 8);
        auto* time_values = reinterpret_cast<std::int64_t*>(times->mutable_data());
        auto* nano_values = reinterpret_cast<std::int16_t*>(nanos->mutable_data());
        auto* shard_values = reinterpret_cast<std::int64_t*>(shards->mutable_data());
        auto* position_values = reinterpret_cast<std::uint64_t*>(positions->mutable_data());
        auto smallest = UINT64_MAX;
        auto largest = std::uint64_t{0};
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto& chunk = chunks_[rows[i].chunk()];
            const auto time = chunk.timestamps[rows[i].row()];
            const auto micros = time / 1000 - (time % 1000 < 0 ? 1 : 0);
            time_values[i] = micros;
            nano_values[i] = static_cast<std::int16_t>(time - micros * 1000);
            shard_values[i] = static_cast<std::int64_t>(shard_.value);
            position_values[i] = chunk.first_position.value + rows[i].row();
            smallest = std::min(smallest, position_values[i]);
            largest = std::max(largest, position_values[i]);
        }
        part.position_begin =
            part.rows == 0 ? Position{smallest} : std::min(part.position_begin, Position{smallest});
        part.position_end = std::max(part.position_end, Position{largest + 1});
        part.rows += rows.size();
        const auto array = [count](std::shared_ptr<arrow::DataType> type,
                                   const std::shared_ptr<arrow::Buffer>& values) {
            return arrow::MakeArray(
                arrow::ArrayData::Make(std::move(type), count, {nullptr, values}, 0));
        };
        return {array(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), times),
                array(arrow::int16(), nanos),
                array(arrow::int64(), shards),
                array(arrow::int64(), positions)};
    }

    std::span<const HotChunk> chunks_;
    ShardId shard_;
    arrow::MemoryPool& pool_;
    std::vector<PartColumn> columns_;
};

std::vector<WrittenRowGroup> row_groups_of(const parquet::FileMetaData& metadata) {
    std::vector<WrittenRowGroup> groups;
    for (int i = 0; i < metadata.num_row_groups(); ++i) {
        const auto group = metadata.RowGroup(i);
        auto& written = groups.emplace_back();
        written.rows = static_cast<std::uint64_t>(group->num_rows());
        for (int column = 0; column < group->num_columns(); ++column) {
            const auto chunk = group->ColumnChunk(column);
            const auto begin =
                chunk->has_dictionary_page() && chunk->dictionary_page_offset() > 0
                    ? std::min(chunk->dictionary_page_offset(), chunk->data_page_offset())
                    : chunk->data_page_offset();
            written.byte_end =
                std::max(written.byte_end,
                         static_cast<std::uint64_t>(begin + chunk->total_compressed_size()));
        }
    }
    return groups;
}

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
        return arrow_error(opened.status());
    }
    const auto writer = std::move(opened).ValueUnsafe();
    std::size_t begin = 0;
    for (const auto end : slice.group_ends) {
        if (const auto status =
                file.write_group(*writer, std::span(slice.rows).subspan(begin, end - begin), part);
            !status.ok()) {
            return arrow_error(status);
        }
        begin = end;
    }
    if (const auto status = writer->AddKeyValueMetadata(
            arrow::key_value_metadata({"molesignal.format_version", "molesignal.sort_order"},
                                      {std::string(kFormatVersion), part.sort_order}));
        !status.ok()) {
        return arrow_error(status);
    }
    if (const auto status = writer->Close(); !status.ok()) {
        return arrow_error(status);
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
