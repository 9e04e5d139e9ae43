#include "storage/part_dump/part_list_file.h"

#include <utility>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include "metadata/row_codec.h"
#include "parquet/part_file.h"

namespace molesignal {
namespace {

constexpr const char* kVersionKey = "molesignal.part_list_version";
constexpr const char* kPartitionKey = "molesignal.partition";
constexpr const char* kVersion = "1";

Error damaged(std::string_view what) {
    return {ErrorCode::kCorruption, fmt::format("part list: {}", what)};
}

Error damaged(const arrow::Status& status) {
    return status.IsOutOfMemory() ? Error(ErrorCode::kResourceExhausted, status.ToString())
                                  : damaged(status.ToString());
}

std::int64_t bytes_of(const PartInfo& part) {
    std::int64_t bytes = 0;
    for (const auto& object : part.objects) {
        bytes += object.bytes;
    }
    return bytes;
}

std::shared_ptr<arrow::DataType> object_type() {
    return arrow::struct_({arrow::field("kind", arrow::utf8(), false),
                           arrow::field("object_key", arrow::utf8(), false),
                           arrow::field("bytes", arrow::int64(), false),
                           arrow::field("xxh3", arrow::uint64(), false)});
}

/// Builds the table of some parts, column after column.
class PartTable {
public:
    PartTable(std::span<const PartInfo> parts, arrow::MemoryPool& pool)
        : parts_(parts), pool_(pool) {}

    arrow::Result<std::shared_ptr<arrow::Table>> build() {
        using arrow::Int64Builder;
        using arrow::StringBuilder;
        using arrow::UInt64Builder;
        ARROW_RETURN_NOT_OK(add<StringBuilder>("id", [](const auto& p) { return p.id; }));
        ARROW_RETURN_NOT_OK(
            add<StringBuilder>("stream_id", [](const auto& p) { return p.stream.value; }));
        ARROW_RETURN_NOT_OK(add<Int64Builder>("rows", [](const auto& p) { return p.rows; }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("size_bytes", [](const auto& p) { return bytes_of(p); }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("raw_bytes", [](const auto& p) { return p.raw_bytes; }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("time_start_micros", [](const auto& p) { return p.time_min_us; }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("time_end_micros", [](const auto& p) { return p.time_max_us; }));
        ARROW_RETURN_NOT_OK(
            add<UInt64Builder>("shard_id", [](const auto& p) { return p.shard.value; }));
        ARROW_RETURN_NOT_OK(add<UInt64Builder>(
            "position_begin", [](const auto& p) { return p.position_begin.value; }));
        ARROW_RETURN_NOT_OK(
            add<UInt64Builder>("position_end", [](const auto& p) { return p.position_end.value; }));
        ARROW_RETURN_NOT_OK(add<arrow::BinaryBuilder>(
            "statistics", [](const auto& p) { return encode_statistics(p); }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("format_version", [](const auto& p) { return p.format_version; }));
        ARROW_RETURN_NOT_OK(
            add<StringBuilder>("sort_order", [](const auto& p) { return p.sort_order; }));
        ARROW_RETURN_NOT_OK(
            add<Int64Builder>("added_version", [](const auto& p) { return p.added_version; }));
        ARROW_RETURN_NOT_OK(add_objects());
        return arrow::Table::Make(
            arrow::schema(fields_), arrays_, static_cast<std::int64_t>(parts_.size()));
    }

private:
    template <class Builder, class Get>
    arrow::Status add(const std::string& name, const Get& get) {
        Builder builder(&pool_);
        for (const auto& part : parts_) {
            ARROW_RETURN_NOT_OK(builder.Append(get(part)));
        }
        return add_array(name, builder);
    }

    arrow::Status add_objects() {
        auto kinds = std::make_shared<arrow::StringBuilder>(&pool_);
        auto keys = std::make_shared<arrow::StringBuilder>(&pool_);
        auto bytes = std::make_shared<arrow::Int64Builder>(&pool_);
        auto hashes = std::make_shared<arrow::UInt64Builder>(&pool_);
        auto objects = std::make_shared<arrow::StructBuilder>(
            object_type(),
            &pool_,
            std::vector<std::shared_ptr<arrow::ArrayBuilder>>{kinds, keys, bytes, hashes});
        arrow::ListBuilder lists(
            &pool_, objects, arrow::list(arrow::field("element", object_type(), false)));
        for (const auto& part : parts_) {
            ARROW_RETURN_NOT_OK(lists.Append());
            for (const auto& object : part.objects) {
                ARROW_RETURN_NOT_OK(objects->Append());
                ARROW_RETURN_NOT_OK(kinds->Append(object.kind));
                ARROW_RETURN_NOT_OK(keys->Append(object.key));
                ARROW_RETURN_NOT_OK(bytes->Append(object.bytes));
                ARROW_RETURN_NOT_OK(hashes->Append(object.xxh3));
            }
        }
        return add_array("objects", lists);
    }

    arrow::Status add_array(const std::string& name, arrow::ArrayBuilder& builder) {
        ARROW_ASSIGN_OR_RAISE(auto array, builder.Finish());
        fields_.push_back(arrow::field(name, array->type(), false));
        arrays_.push_back(std::move(array));
        return arrow::Status::OK();
    }

    std::span<const PartInfo> parts_;
    arrow::MemoryPool& pool_;
    std::vector<std::shared_ptr<arrow::Field>> fields_;
    std::vector<std::shared_ptr<arrow::Array>> arrays_;
};

arrow::Result<ByteBuffer> write_table(const arrow::Table& table,
                                      const std::string& partition,
                                      arrow::MemoryPool& pool) {
    parquet::WriterProperties::Builder builder;
    builder.compression(parquet::Compression::ZSTD)
        ->enable_page_checksum()
        ->memory_pool(&pool)
        ->created_by("molesignal");
    ARROW_ASSIGN_OR_RAISE(auto out, arrow::io::BufferOutputStream::Create(64 << 10, &pool));
    ARROW_ASSIGN_OR_RAISE(
        const auto writer,
        parquet::arrow::FileWriter::Open(*table.schema(), &pool, out, builder.build()));
    ARROW_RETURN_NOT_OK(writer->WriteTable(table));
    ARROW_RETURN_NOT_OK(writer->AddKeyValueMetadata(
        arrow::key_value_metadata({kVersionKey, kPartitionKey}, {kVersion, partition})));
    ARROW_RETURN_NOT_OK(writer->Close());
    ARROW_ASSIGN_OR_RAISE(const auto buffer, out->Finish());
    const auto* begin = reinterpret_cast<const std::byte*>(buffer->data());
    return ByteBuffer(begin, begin + buffer->size());
}

template <class Array>
Result<> find_column(const arrow::Table& table, const std::string& name, const Array*& found) {
    const auto column = table.GetColumnByName(name);
    if (column == nullptr || column->num_chunks() != 1 || column->null_count() != 0 ||
        column->type()->id() != Array::TypeClass::type_id) {
        return damaged(fmt::format("column {} is missing or not what it should be", name));
    }
    found = static_cast<const Array*>(column->chunk(0).get());
    return {};
}

/// A list that was read.
class PartRows {
public:
    /// `table` has one chunk a column, and outlives it.
    Result<> open(const arrow::Table& table) {
        MS_TRY_VOID(find_column(table, "id", id_));
        MS_TRY_VOID(find_column(table, "stream_id", stream_));
        MS_TRY_VOID(find_column(table, "rows", rows_));
        MS_TRY_VOID(find_column(table, "size_bytes", bytes_));
        MS_TRY_VOID(find_column(table, "raw_bytes", raw_bytes_));
        MS_TRY_VOID(find_column(table, "time_start_micros", time_min_));
        MS_TRY_VOID(find_column(table, "time_end_micros", time_max_));
        MS_TRY_VOID(find_column(table, "shard_id", shard_));
        MS_TRY_VOID(find_column(table, "position_begin", position_begin_));
        MS_TRY_VOID(find_column(table, "position_end", position_end_));
        MS_TRY_VOID(find_column(table, "statistics", statistics_));
        MS_TRY_VOID(find_column(table, "format_version", format_version_));
        MS_TRY_VOID(find_column(table, "sort_order", sort_order_));
        MS_TRY_VOID(find_column(table, "added_version", added_version_));
        MS_TRY_VOID(find_column(table, "objects", objects_));
        if (!objects_->value_type()->Equals(*object_type())) {
            return damaged("column objects is not what it should be");
        }
        const auto& fields = static_cast<const arrow::StructArray&>(*objects_->values());
        // As they are in the file: the list's offsets count from there.
        kind_ = std::static_pointer_cast<arrow::StringArray>(fields.field(0));
        key_ = std::static_pointer_cast<arrow::StringArray>(fields.field(1));
        object_bytes_ = std::static_pointer_cast<arrow::Int64Array>(fields.field(2));
        object_xxh3_ = std::static_pointer_cast<arrow::UInt64Array>(fields.field(3));
        return {};
    }

    Result<PartInfo> part(std::int64_t row) const {
        PartInfo part{
            .id = id_->GetString(row),
            .stream = StreamId{stream_->GetString(row)},
            .objects = {},
            .rows = rows_->Value(row),
            .raw_bytes = raw_bytes_->Value(row),
            .time_min_us = time_min_->Value(row),
            .time_max_us = time_max_->Value(row),
            .shard = ShardId{shard_->Value(row)},
            .position_begin = Position{position_begin_->Value(row)},
            .position_end = Position{position_end_->Value(row)},
            .fields = {},
            .zone_maps = {},
            .format_version = static_cast<std::int32_t>(format_version_->Value(row)),
            .sort_order = sort_order_->GetString(row),
            .added_version = added_version_->Value(row),
        };
        const auto begin = objects_->value_offset(row);
        for (auto i = begin; i < begin + objects_->value_length(row); ++i) {
            part.objects.push_back({.kind = kind_->GetString(i),
                                    .key = key_->GetString(i),
                                    .bytes = object_bytes_->Value(i),
                                    .xxh3 = object_xxh3_->Value(i)});
        }
        if (auto decoded = decode_statistics(statistics_->GetView(row), part); !decoded) {
            return std::move(decoded).error().wrap(fmt::format("part {}", part.id));
        }
        if (part.objects.empty() || bytes_of(part) != bytes_->Value(row)) {
            return damaged(fmt::format("the sizes of part {} do not fit", part.id));
        }
        return part;
    }

private:
    const arrow::StringArray* id_ = nullptr;
    const arrow::StringArray* stream_ = nullptr;
    const arrow::Int64Array* rows_ = nullptr;
    const arrow::Int64Array* bytes_ = nullptr;
    const arrow::Int64Array* raw_bytes_ = nullptr;
    const arrow::Int64Array* time_min_ = nullptr;
    const arrow::Int64Array* time_max_ = nullptr;
    const arrow::UInt64Array* shard_ = nullptr;
    const arrow::UInt64Array* position_begin_ = nullptr;
    const arrow::UInt64Array* position_end_ = nullptr;
    const arrow::BinaryArray* statistics_ = nullptr;
    const arrow::Int64Array* format_version_ = nullptr;
    const arrow::StringArray* sort_order_ = nullptr;
    const arrow::Int64Array* added_version_ = nullptr;
    const arrow::ListArray* objects_ = nullptr;
    std::shared_ptr<arrow::StringArray> kind_;
    std::shared_ptr<arrow::StringArray> key_;
    std::shared_ptr<arrow::Int64Array> object_bytes_;
    std::shared_ptr<arrow::UInt64Array> object_xxh3_;
};

Result<> check_version(const parquet::FileMetaData& metadata) {
    const auto& pairs = metadata.key_value_metadata();
    const auto version = pairs == nullptr ? arrow::Result<std::string>(arrow::Status::KeyError(""))
                                          : pairs->Get(kVersionKey);
    if (!version.ok() || *version != kVersion) {
        return damaged(fmt::format("version '{}' is unknown", version.ok() ? *version : ""));
    }
    return {};
}

Result<std::vector<PartInfo>> decode(Bytes file, arrow::MemoryPool& pool) {
    const auto buffer = std::make_shared<arrow::Buffer>(
        reinterpret_cast<const std::uint8_t*>(file.data()), static_cast<std::int64_t>(file.size()));
    const auto reader =
        parquet::arrow::OpenFile(std::make_shared<arrow::io::BufferReader>(buffer), &pool);
    if (!reader.ok()) {
        return damaged(reader.status());
    }
    MS_TRY_VOID(check_version(*(*reader)->parquet_reader()->metadata()));
    const auto read = (*reader)->ReadTable();
    if (!read.ok()) {
        return damaged(read.status());
    }
    const auto table = (*read)->CombineChunks(&pool);
    if (!table.ok()) {
        return damaged(table.status());
    }
    if (const auto valid = (*table)->ValidateFull(); !valid.ok()) {
        return damaged(valid);
    }
    PartRows rows;
    MS_TRY_VOID(rows.open(**table));
    std::vector<PartInfo> parts;
    parts.reserve(static_cast<std::size_t>((*table)->num_rows()));
    for (std::int64_t row = 0; row < (*table)->num_rows(); ++row) {
        MS_TRY(auto part, rows.part(row));
        parts.push_back(std::move(part));
    }
    return parts;
}

}  // namespace

Result<ByteBuffer> encode_part_list(std::span<const PartInfo> parts,
                                    const std::string& partition,
                                    const std::shared_ptr<MemoryBudget>& memory) {
    BudgetPool pool(memory);
    const auto table = PartTable(parts, pool).build();
    if (!table.ok()) {
        return parquet_error("list parts", table.status());
    }
    auto file = write_table(**table, partition, pool);
    if (!file.ok()) {
        return parquet_error("write a list of parts", file.status());
    }
    return std::move(file).ValueUnsafe();
}

Result<std::vector<PartInfo>> decode_part_list(Bytes file,
                                               const std::shared_ptr<MemoryBudget>& memory) {
    BudgetPool pool(memory);
    try {
        return decode(file, pool);
    } catch (const std::exception& exception) {
        return damaged(exception.what());
    }
}

}  // namespace molesignal
