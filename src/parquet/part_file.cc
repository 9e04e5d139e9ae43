#include "parquet/part_file.h"

#include <algorithm>

#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::string_view kFormatVersion = "1";

std::shared_ptr<arrow::Buffer> allocate(std::int64_t bytes, arrow::MemoryPool& pool) {
    auto buffer = arrow::AllocateBuffer(bytes, &pool);
    MS_ASSERT(buffer.ok());
    return std::move(buffer).ValueUnsafe();
}

}  // namespace

Error parquet_error(std::string_view doing, const arrow::Status& status) {
    const auto code = status.IsOutOfMemory() ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
    return {code, fmt::format("{}: {}", doing, status.ToString())};
}

std::shared_ptr<arrow::DataType> part_column_type(FieldType type) {
    switch (type) {
        case FieldType::kBool:
            return arrow::boolean();
        case FieldType::kInt64:
            return arrow::int64();
        case FieldType::kUint64:
            return arrow::uint64();
        case FieldType::kFloat64:
            return arrow::float64();
        case FieldType::kTimestamp:
            return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
        case FieldType::kBytes:
            return arrow::binary();
        case FieldType::kString:
        case FieldType::kJson:
            return arrow::utf8();
    }
    return arrow::null();
}

std::shared_ptr<arrow::Field> part_field(const std::string& name,
                                         std::shared_ptr<arrow::DataType> type,
                                         bool nullable,
                                         std::int32_t id) {
    return arrow::field(name,
                        std::move(type),
                        nullable,
                        arrow::key_value_metadata({"PARQUET:field_id"}, {std::to_string(id)}));
}

std::vector<std::shared_ptr<arrow::Field>> own_part_fields() {
    return {part_field(std::string(kTimestampField),
                       arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
                       false,
                       kTimestampFieldId),
            part_field(
                std::string(kTimestampNanosField), arrow::int16(), false, kTimestampNanosFieldId),
            part_field(std::string(kShardField), arrow::int64(), false, kShardFieldId),
            part_field(std::string(kPositionField), arrow::int64(), false, kPositionFieldId)};
}

PartColumnNames::PartColumnNames() {
    for (const auto name : {kTimestampField, kTimestampNanosField, kShardField, kPositionField}) {
        taken_.emplace_back(name);
    }
    std::ranges::sort(taken_);
}

std::string PartColumnNames::take(const std::string& field, FieldType type) {
    auto name = field;
    for (int suffix = 1; std::ranges::binary_search(taken_, name); ++suffix) {
        name = suffix == 1 ? fmt::format("{}__{}", field, field_type_name(type))
                           : fmt::format("{}__{}_{}", field, field_type_name(type), suffix);
    }
    taken_.insert(std::ranges::lower_bound(taken_, name), name);
    return name;
}

std::shared_ptr<parquet::WriterProperties> part_properties(
    const PartWriterOptions& options,
    const std::vector<ManyValuedColumn>& many_valued,
    arrow::MemoryPool& pool) {
    parquet::WriterProperties::Builder builder;
    builder.compression(parquet::Compression::ZSTD)
        ->compression_level(options.zstd_level)
        ->max_row_group_length(static_cast<std::int64_t>(options.rows_per_group))
        ->enable_write_page_index()
        ->enable_page_checksum()
        ->memory_pool(&pool)
        ->created_by("molesignal");
    for (const auto name : {kTimestampField, kPositionField, kShardField}) {
        const std::string path(name);
        builder.disable_dictionary(path)->encoding(path, parquet::Encoding::DELTA_BINARY_PACKED);
    }
    for (const auto& column : many_valued) {
        const auto encoding =
            is_variable_width(column.type)       ? parquet::Encoding::DELTA_LENGTH_BYTE_ARRAY
            : column.type == FieldType::kFloat64 ? parquet::Encoding::BYTE_STREAM_SPLIT
                                                 : parquet::Encoding::DELTA_BINARY_PACKED;
        builder.disable_dictionary(column.name)->encoding(column.name, encoding);
    }
    return builder.build();
}

std::shared_ptr<const arrow::KeyValueMetadata> part_metadata(std::string_view sort_order) {
    return arrow::key_value_metadata({"molesignal.format_version", "molesignal.sort_order"},
                                     {std::string(kFormatVersion), std::string(sort_order)});
}

OwnPartColumns::OwnPartColumns(std::size_t rows, arrow::MemoryPool& pool)
    : rows_(static_cast<std::int64_t>(rows)),
      times_(allocate(rows_ * 8, pool)),
      nanos_(allocate(rows_ * 2, pool)),
      shards_(allocate(rows_ * 8, pool)),
      positions_(allocate(rows_ * 8, pool)) {}

void OwnPartColumns::set(std::size_t row,
                         std::int64_t time_ns,
                         std::uint64_t shard,
                         std::uint64_t position) {
    const auto micros = time_ns / 1000 - (time_ns % 1000 < 0 ? 1 : 0);
    reinterpret_cast<std::int64_t*>(times_->mutable_data())[row] = micros;
    reinterpret_cast<std::int16_t*>(nanos_->mutable_data())[row] =
        static_cast<std::int16_t>(time_ns - micros * 1000);
    reinterpret_cast<std::uint64_t*>(shards_->mutable_data())[row] = shard;
    reinterpret_cast<std::uint64_t*>(positions_->mutable_data())[row] = position;
}

std::vector<std::shared_ptr<arrow::Array>> OwnPartColumns::arrays() const {
    const auto array = [this](std::shared_ptr<arrow::DataType> type,
                              const std::shared_ptr<arrow::Buffer>& values) {
        return arrow::MakeArray(
            arrow::ArrayData::Make(std::move(type), rows_, {nullptr, values}, 0));
    };
    return {array(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), times_),
            array(arrow::int16(), nanos_),
            array(arrow::int64(), shards_),
            array(arrow::int64(), positions_)};
}

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

}  // namespace molesignal
