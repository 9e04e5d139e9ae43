#include "parquet/merged_part_writer.h"

#include <algorithm>
#include <map>
#include <optional>

#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <parquet/arrow/writer.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include "common/assert.h"
#include "common/xxh3.h"
#include "parquet/part_columns.h"
#include "parquet/part_file.h"

namespace molesignal {
namespace {

constexpr std::size_t kBufferBytes = 1U << 20U;

/// Arrow's output goes to a file, a buffer at a time, and is hashed on its way.
class HashedFileStream final : public arrow::io::OutputStream {
public:
    explicit HashedFileStream(File& out) : out_(out) { buffer_.reserve(kBufferBytes); }
    arrow::Status Close() override {
        closed_ = true;
        return arrow::Status::OK();
    }
    bool closed() const override { return closed_; }
    arrow::Result<std::int64_t> Tell() const override {
        return static_cast<std::int64_t>(written_ + buffer_.size());
    }
    arrow::Status Write(const void* data, std::int64_t size) override {
        const Bytes bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(size));
        if (buffer_.size() + bytes.size() > kBufferBytes) {
            ARROW_RETURN_NOT_OK(write_out());
        }
        if (bytes.size() > kBufferBytes) {
            return write_through(bytes);
        }
        append_bytes(buffer_, bytes);
        return arrow::Status::OK();
    }
    using arrow::io::OutputStream::Write;

    arrow::Status write_out() {
        ARROW_RETURN_NOT_OK(write_through(buffer_));
        buffer_.clear();
        return arrow::Status::OK();
    }
    std::uint64_t bytes() const { return written_ + buffer_.size(); }
    std::uint64_t xxh3() const { return hash_.digest(); }
    /// The file's error that a failed status of Arrow hides.
    std::optional<Error> take_failure() { return std::exchange(failure_, std::nullopt); }

private:
    arrow::Status write_through(Bytes bytes) {
        if (auto done = out_.write_at(written_, bytes); !done) {
            failure_ = std::move(done).error();
            return arrow::Status::IOError(failure_->message());
        }
        hash_.update(bytes);
        written_ += bytes.size();
        return arrow::Status::OK();
    }

    File& out_;
    ByteBuffer buffer_;
    std::uint64_t written_ = 0;
    Xxh3 hash_;
    bool closed_ = false;
    std::optional<Error> failure_;
};

class ArrowMergedPartWriter final : public MergedPartWriter {
public:
    ArrowMergedPartWriter(File& out,
                          std::vector<PartFileColumn> columns,
                          std::string sort_field,
                          std::shared_ptr<MemoryBudget> memory)
        : pool_(std::move(memory)),
          stream_(std::make_shared<HashedFileStream>(out)),
          columns_(std::move(columns)) {
        part_.sort_order =
            sort_field.empty() ? "_timestamp desc" : sort_field + ", _timestamp desc";
        PartColumnNames names;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const auto& column = columns_[i];
            names_.push_back(names.take(column.field, column.type));
            bounds_.emplace_back(column.type);
            const bool is_new = by_field_.try_emplace({column.field, column.type}, i).second;
            MS_ASSERT(is_new);
        }
    }

    Result<> open(const PartWriterOptions& options) {
        auto fields = own_part_fields();
        std::vector<ManyValuedColumn> many_valued;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            fields.push_back(part_field(
                names_[i], part_column_type(columns_[i].type), true, columns_[i].id.value));
            if (!columns_[i].coded && columns_[i].type != FieldType::kBool) {
                many_valued.push_back({names_[i], columns_[i].type});
            }
        }
        auto opened =
            parquet::arrow::FileWriter::Open(*arrow::schema(std::move(fields)),
                                             &pool_,
                                             stream_,
                                             part_properties(options, many_valued, pool_));
        if (!opened.ok()) {
            return failed(opened.status());
        }
        writer_ = std::move(opened).ValueUnsafe();
        return {};
    }

    Result<> write_group(std::span<const PartChunk> chunks, std::span<const RowRef> rows) override {
        MS_ASSERT(!rows.empty());
        const auto status = append(chunks, rows);
        return status.ok() ? Result<>() : failed(status);
    }

    std::uint64_t bytes_written() const override { return stream_->bytes(); }

    Result<MergedPart> finish() override {
        if (const auto status = close(); !status.ok()) {
            return failed(status);
        }
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const auto id = columns_[i].id;
            if (id.value == kExtraFieldId) {
                continue;
            }
            part_.fields.push_back(id);
            if (WrittenZone zone; bounds_[i].zone(id, zone)) {
                part_.zone_maps.push_back(std::move(zone));
            }
        }
        part_.row_groups = row_groups_of(*writer_->metadata());
        part_.file_bytes = stream_->bytes();
        part_.file_xxh3 = stream_->xxh3();
        return std::move(part_);
    }

private:
    Error failed(const arrow::Status& status) {
        if (auto failure = stream_->take_failure()) {
            return std::move(*failure);
        }
        return parquet_error("write Parquet", status);
    }

    arrow::Status close() {
        ARROW_RETURN_NOT_OK(writer_->AddKeyValueMetadata(part_metadata(part_.sort_order)));
        ARROW_RETURN_NOT_OK(writer_->Close());
        return stream_->write_out();
    }

    arrow::Status append(std::span<const PartChunk> chunks, std::span<const RowRef> rows) {
        ARROW_RETURN_NOT_OK(writer_->NewRowGroup());
        for (const auto& array : own_columns(chunks, rows)) {
            ARROW_RETURN_NOT_OK(writer_->WriteColumnChunk(*array));
        }
        std::vector<std::vector<const HotColumnView*>> views(
            columns_.size(), std::vector<const HotColumnView*>(chunks.size(), nullptr));
        for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
            for (const auto& view : chunks[chunk].rows.columns) {
                const auto column = by_field_.find({view.name, view.type});
                MS_ASSERT(column != by_field_.end());
                views[column->second][chunk] = &view;
            }
        }
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const auto& column = columns_[i];
            PartColumn values(
                names_[i], column.id, column.type, std::move(views[i]), rows, pool_, column.coded);
            ARROW_RETURN_NOT_OK(writer_->WriteColumnChunk(*values.gather(rows)));
            bounds_[i].merge(values.bounds());
        }
        return arrow::Status::OK();
    }

    std::vector<std::shared_ptr<arrow::Array>> own_columns(std::span<const PartChunk> chunks,
                                                           std::span<const RowRef> rows) {
        OwnPartColumns own(rows.size(), pool_);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto& chunk = chunks[rows[i].chunk()];
            const auto row = rows[i].row();
            const auto time = chunk.rows.timestamps[row];
            const ShardId shard{chunk.shards[row]};
            const Position position{chunk.positions[row]};
            own.set(i, time, shard.value, position.value);
            if (part_.rows == 0) {
                part_.time_min_ns = time;
                part_.time_max_ns = time;
                part_.position_begin = position;
                part_.shard = shard;
            }
            part_.shard = part_.shard == shard ? shard : ShardId{0};
            part_.time_min_ns = std::min(part_.time_min_ns, time);
            part_.time_max_ns = std::max(part_.time_max_ns, time);
            part_.position_begin = std::min(part_.position_begin, position);
            part_.position_end = std::max(part_.position_end, Position{position.value + 1});
            ++part_.rows;
        }
        return own.arrays();
    }

    BudgetPool pool_;
    std::shared_ptr<HashedFileStream> stream_;
    std::vector<PartFileColumn> columns_;
    std::vector<std::string> names_;  ///< Of columns_, in the file.
    std::vector<ZoneBounds> bounds_;
    std::map<std::pair<std::string_view, FieldType>, std::size_t> by_field_;  ///< Into columns_.
    std::unique_ptr<parquet::arrow::FileWriter> writer_;
    MergedPart part_;
};

}  // namespace

Result<std::unique_ptr<MergedPartWriter>> MergedPartWriter::open(
    File& out,
    std::vector<PartFileColumn> columns,
    std::string sort_field,
    const PartWriterOptions& options,
    std::shared_ptr<MemoryBudget> memory) {
    auto writer = std::make_unique<ArrowMergedPartWriter>(
        out, std::move(columns), std::move(sort_field), std::move(memory));
    MS_TRY_VOID(writer->open(options));
    return writer;
}

}  // namespace molesignal
