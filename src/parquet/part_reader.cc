#include "parquet/part_reader.h"

#include <algorithm>
#include <cstring>

#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>
#include <parquet/statistics.h>

#include "parquet/decoded_column.h"
#include "parquet/part_file.h"

namespace molesignal {
namespace {

Error damaged(std::string_view what) {
    return {ErrorCode::kCorruption, fmt::format("Parquet file: {}", what)};
}

Error damaged(const arrow::Status& status) {
    if (status.IsOutOfMemory()) {
        return {ErrorCode::kResourceExhausted, status.ToString()};
    }
    return damaged(status.ToString());
}

/// The bytes of a RangeReader for Arrow. One range at a time is kept, so that a row group costs one
/// read.
class RangeFile final : public arrow::io::RandomAccessFile {
public:
    explicit RangeFile(RangeReader& source) : source_(source) {}

    Result<> keep(std::uint64_t begin, std::uint64_t end) {
        drop();
        MS_TRY(kept_, source_.read(begin, end - begin));
        begin_ = begin;
        return {};
    }
    void drop() {
        ByteBuffer().swap(kept_);
        begin_ = 0;
    }
    /// The error of the source that a failed status of Arrow hides; nothing if it was Arrow's own.
    std::optional<Error> take_failure() { return std::exchange(failure_, std::nullopt); }

    arrow::Status Close() override { return arrow::Status::OK(); }
    bool closed() const override { return false; }
    arrow::Result<std::int64_t> Tell() const override { return position_; }
    arrow::Status Seek(std::int64_t position) override {
        position_ = position;
        return arrow::Status::OK();
    }
    arrow::Result<std::int64_t> GetSize() override {
        return static_cast<std::int64_t>(source_.size());
    }
    arrow::Result<std::int64_t> Read(std::int64_t bytes, void* out) override {
        ARROW_ASSIGN_OR_RAISE(const auto got, ReadAt(position_, bytes, out));
        position_ += got;
        return got;
    }
    arrow::Result<std::shared_ptr<arrow::Buffer>> Read(std::int64_t bytes) override {
        ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, bytes));
        position_ += buffer->size();
        return buffer;
    }
    arrow::Result<std::int64_t> ReadAt(std::int64_t position,
                                       std::int64_t bytes,
                                       void* out) override {
        ARROW_ASSIGN_OR_RAISE(const auto buffer, ReadAt(position, bytes));
        if (buffer->size() > 0) {
            std::memcpy(out, buffer->data(), static_cast<std::size_t>(buffer->size()));
        }
        return buffer->size();
    }
    arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(std::int64_t position,
                                                         std::int64_t bytes) override {
        if (position < 0 || bytes < 0 || static_cast<std::uint64_t>(position) > source_.size()) {
            return arrow::Status::IOError("a read outside the file");
        }
        const auto begin = static_cast<std::uint64_t>(position);
        const auto length = std::min(static_cast<std::uint64_t>(bytes), source_.size() - begin);
        if (begin >= begin_ && begin + length <= begin_ + kept_.size()) {
            // Arrow is done with it before the range is dropped: what it decodes are copies.
            return std::make_shared<arrow::Buffer>(
                reinterpret_cast<const std::uint8_t*>(kept_.data()) + (begin - begin_),
                static_cast<std::int64_t>(length));
        }
        auto content = source_.read(begin, length);
        if (!content) {
            failure_ = content.error();
            return arrow::Status::IOError(content.error().message());
        }
        return arrow::Buffer::FromVector(std::move(*content));
    }

private:
    RangeReader& source_;
    ByteBuffer kept_;
    std::uint64_t begin_ = 0;
    std::int64_t position_ = 0;
    std::optional<Error> failure_;
};

struct OwnColumnIndices {
    int times = -1;
    int nanos = -1;
    int shards = -1;
    int positions = -1;
};

class ArrowPartReader final : public PartReader {
public:
    ArrowPartReader(RangeReader& source, std::shared_ptr<MemoryBudget> memory)
        : pool_(std::make_shared<BudgetPool>(std::move(memory))),
          file_(std::make_shared<RangeFile>(source)) {}

    Result<> open(const StreamSchema& schema) {
        parquet::ReaderProperties properties(pool_.get());
        properties.set_page_checksum_verification(true);
        properties.set_footer_read_size(64 << 10);
        parquet::arrow::FileReaderBuilder builder;
        if (const auto status = builder.Open(file_, properties); !status.ok()) {
            return failed(status);
        }
        metadata_ = builder.raw_reader()->metadata();
        MS_TRY_VOID(find_columns(schema));
        parquet::ArrowReaderProperties arrow_properties(false);
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            arrow_properties.set_read_dictionary(
                file_columns_[i], columns_[i].coded && is_variable_width(columns_[i].type));
        }
        auto built = builder.memory_pool(pool_.get())->properties(arrow_properties)->Build();
        if (!built.ok()) {
            return failed(built.status());
        }
        reader_ = std::move(built).ValueUnsafe();
        return {};
    }

    std::span<const PartFileColumn> columns() const override { return columns_; }
    std::size_t groups() const override { return ranges_.size(); }
    std::uint64_t group_rows(std::size_t group) const override { return ranges_[group].rows; }
    std::pair<std::uint64_t, std::uint64_t> group_range(std::size_t group) const override {
        return {group == 0 ? 0 : ranges_[group - 1].byte_end, ranges_[group].byte_end};
    }

    std::optional<std::int64_t> group_time_max_ns(std::size_t group) const override {
        using Outcome = Result<std::optional<std::int64_t>>;
        return guarded<Outcome>([&]() -> Outcome { return time_max_of(group); })
            .value_or(std::nullopt);
    }

    Result<std::vector<PartChunk>> read_group(std::size_t group) override {
        const auto [begin, end] = group_range(group);
        MS_TRY_VOID(file_->keep(begin, end));
        auto chunks = decode_group(group);
        file_->drop();
        return chunks;
    }

    Result<std::vector<HotChunk>> read_column(std::size_t group, std::size_t column) override {
        MS_TRY(auto decoded, decode(group, column));
        auto chunks = empty_chunks(group);
        for (std::size_t i = 0; i < chunks.size(); ++i) {
            chunks[i].columns.push_back(view(*decoded, column, i));
            chunks[i].owner = decoded;
        }
        return chunks;
    }

private:
    /// `call` without Arrow's exceptions.
    template <class Outcome, class Call>
    static Outcome guarded(const Call& call) {
        try {
            return call();
        } catch (const std::exception& exception) {
            return damaged(exception.what());
        }
    }

    Error failed(const arrow::Status& status) {
        if (auto failure = file_->take_failure()) {
            return std::move(*failure);
        }
        return damaged(status);
    }

    Result<> find_columns(const StreamSchema& schema) {
        return guarded<Result<>>([&] { return find_columns_in(schema); });
    }

    Result<> find_columns_in(const StreamSchema& schema) {
        const auto* file_schema = metadata_->schema();
        for (int i = 0; i < file_schema->num_columns(); ++i) {
            const auto& node = *file_schema->Column(i)->schema_node();
            if (!file_schema->GetColumnRoot(i)->is_primitive()) {
                return damaged(fmt::format("column '{}' is nested", node.name()));
            }
            switch (node.field_id()) {
                case kTimestampFieldId:
                    own_.times = i;
                    break;
                case kTimestampNanosFieldId:
                    own_.nanos = i;
                    break;
                case kShardFieldId:
                    own_.shards = i;
                    break;
                case kPositionFieldId:
                    own_.positions = i;
                    break;
                default:
                    MS_TRY_VOID(add_column(schema, node.field_id(), node.name(), i));
            }
        }
        if (std::min({own_.times, own_.nanos, own_.shards, own_.positions}) < 0) {
            return damaged("a column that every part has is missing");
        }
        ranges_ = row_groups_of(*metadata_);
        return {};
    }

    Result<> add_column(const StreamSchema& schema, int id, const std::string& name, int index) {
        PartFileColumn column{
            .id = FieldId{id}, .field = std::string(kExtraField), .type = FieldType::kJson};
        if (id != kExtraFieldId) {
            const auto variant = std::ranges::find(schema.variants, column.id, &FieldVariant::id);
            if (variant == schema.variants.end()) {
                return damaged(fmt::format("column '{}' has the unknown field id {}", name, id));
            }
            column.field = variant->name;
            column.type = variant->type;
        }
        for (int group = 0; group < metadata_->num_row_groups() && !column.coded; ++group) {
            column.coded = column.type != FieldType::kBytes &&
                           metadata_->RowGroup(group)->ColumnChunk(index)->has_dictionary_page();
        }
        columns_.push_back(std::move(column));
        file_columns_.push_back(index);
        return {};
    }

    std::optional<std::int64_t> time_max_of(std::size_t group) const {
        const auto chunk = metadata_->RowGroup(static_cast<int>(group))->ColumnChunk(own_.times);
        const auto statistics = chunk->statistics();
        if (statistics == nullptr || !statistics->HasMinMax()) {
            return std::nullopt;
        }
        const auto micros = dynamic_cast<const parquet::Int64Statistics&>(*statistics).max();
        return micros * 1000 + 999;
    }

    std::vector<HotChunk> empty_chunks(std::size_t group) const {
        std::vector<HotChunk> chunks;
        for (std::uint64_t at = 0; at < group_rows(group); at += HotChunk::kRowsMax) {
            chunks.emplace_back().rows = static_cast<std::uint32_t>(
                std::min<std::uint64_t>(HotChunk::kRowsMax, group_rows(group) - at));
        }
        return chunks;
    }

    Result<std::shared_ptr<arrow::ChunkedArray>> read(std::size_t group, int file_column) {
        std::shared_ptr<arrow::ChunkedArray> array;
        const auto status =
            reader_->RowGroup(static_cast<int>(group))->Column(file_column)->Read(&array);
        if (!status.ok()) {
            return failed(status);
        }
        if (static_cast<std::uint64_t>(array->length()) != group_rows(group)) {
            return damaged("a column has another number of rows than its group");
        }
        return array;
    }

    Result<std::shared_ptr<const DecodedColumn>> decode(std::size_t group, std::size_t column) {
        MS_TRY(const auto array, read(group, file_columns_[column]));
        auto decoded = DecodedColumn::make(columns_[column].type, array, *pool_);
        if (!decoded) {
            return damaged(
                fmt::format("column '{}': {}", columns_[column].field, decoded.error().message()));
        }
        return std::shared_ptr<const DecodedColumn>(
            new DecodedColumn(std::move(*decoded)),
            [pool = pool_](const DecodedColumn* gone) { delete gone; });
    }

    HotColumnView view(const DecodedColumn& decoded, std::size_t column, std::size_t chunk) const {
        auto column_view = decoded.view(chunk);
        column_view.name = columns_[column].field;
        column_view.type = columns_[column].type;
        return column_view;
    }

    /// What the chunks of a group point into.
    struct DecodedGroup {
        std::vector<std::shared_ptr<const DecodedColumn>> columns;
        std::vector<std::int64_t> times;
        std::vector<std::uint64_t> shards;
        std::vector<std::uint64_t> positions;
    };

    template <class Value>
    Result<std::vector<Value>> own_values(std::size_t group, int file_column) {
        MS_TRY(const auto array, read(group, file_column));
        return copy_fixed<Value>(*array);
    }

    Result<std::vector<PartChunk>> decode_group(std::size_t group) {
        auto decoded = std::make_shared<DecodedGroup>();
        MS_TRY(decoded->times, (own_values<std::int64_t>(group, own_.times)));
        MS_TRY(const auto nanos, (own_values<std::int16_t>(group, own_.nanos)));
        MS_TRY(decoded->shards, (own_values<std::uint64_t>(group, own_.shards)));
        MS_TRY(decoded->positions, (own_values<std::uint64_t>(group, own_.positions)));
        for (std::size_t i = 0; i < nanos.size(); ++i) {
            decoded->times[i] = decoded->times[i] * 1000 + nanos[i];
        }
        auto chunks = empty_chunks(group);
        for (std::size_t column = 0; column < columns_.size(); ++column) {
            MS_TRY(auto values, decode(group, column));
            for (std::size_t i = 0; i < chunks.size(); ++i) {
                chunks[i].columns.push_back(view(*values, column, i));
            }
            decoded->columns.push_back(std::move(values));
        }
        std::vector<PartChunk> rows;
        for (std::size_t i = 0; i < chunks.size(); ++i) {
            const auto first = i * HotChunk::kRowsMax;
            auto& chunk = chunks[i];
            chunk.owner = decoded;
            chunk.timestamps = decoded->times.data() + first;
            const auto [least, most] =
                std::minmax_element(chunk.timestamps, chunk.timestamps + chunk.rows);
            chunk.time_min_ns = *least;
            chunk.time_max_ns = *most;
            rows.push_back({.rows = std::move(chunk),
                            .shards = decoded->shards.data() + first,
                            .positions = decoded->positions.data() + first});
        }
        return rows;
    }

    std::shared_ptr<BudgetPool> pool_;
    std::shared_ptr<RangeFile> file_;
    std::shared_ptr<parquet::FileMetaData> metadata_;
    std::unique_ptr<parquet::arrow::FileReader> reader_;
    std::vector<PartFileColumn> columns_;
    std::vector<int> file_columns_;  ///< Of columns_, in the file.
    OwnColumnIndices own_;
    std::vector<WrittenRowGroup> ranges_;
};

}  // namespace

Result<std::unique_ptr<PartReader>> PartReader::open(RangeReader& source,
                                                     const StreamSchema& schema,
                                                     std::shared_ptr<MemoryBudget> memory) {
    auto reader = std::make_unique<ArrowPartReader>(source, std::move(memory));
    MS_TRY_VOID(reader->open(schema));
    return reader;
}

}  // namespace molesignal
