#include "parquet/part_writer.h"

#include <bit>
#include <cmath>
#include <map>
#include <set>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include "parquet/part_fixture.h"

namespace molesignal {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::uint64_t bits_of(double value) {
    return std::bit_cast<std::uint64_t>(value);
}

class PartWriter : public ::testing::Test {
protected:
    void add_field(const std::string& name, FieldType type) {
        schema_.variants.push_back(
            {.id = FieldId{static_cast<std::int32_t>(schema_.variants.size() + 1)},
             .name = name,
             .type = type});
    }
    /// Writes all chunks as one slice, rows in order, `rows_per_group` to a group.
    Result<WrittenPart> write(std::uint64_t rows_per_group = 1000) {
        PartSlice slice;
        slice.time_min_ns = INT64_MAX;
        slice.time_max_ns = INT64_MIN;
        for (std::size_t i = 0; i < chunks_.size(); ++i) {
            for (auto row = chunks_[i].begin; row < chunks_[i].rows; ++row) {
                slice.rows.push_back(RowRef::make(i, row));
                slice.time_min_ns = std::min(slice.time_min_ns, chunks_[i].timestamps[row]);
                slice.time_max_ns = std::max(slice.time_max_ns, chunks_[i].timestamps[row]);
                if (slice.rows.size() % rows_per_group == 0) {
                    slice.group_ends.push_back(slice.rows.size());
                }
            }
        }
        if (slice.group_ends.empty() || slice.group_ends.back() != slice.rows.size()) {
            slice.group_ends.push_back(slice.rows.size());
        }
        return write_part(slice,
                          chunks_,
                          schema_,
                          ShardId{42},
                          {.zstd_level = 1, .rows_per_group = rows_per_group},
                          MemoryBudget::make_root("test", "none", 1LL << 30));
    }
    /// The file as Arrow reads it back.
    static std::shared_ptr<arrow::Table> read(const WrittenPart& part) {
        const auto buffer =
            std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(part.file.data()),
                                            static_cast<std::int64_t>(part.file.size()));
        auto reader = parquet::arrow::OpenFile(std::make_shared<arrow::io::BufferReader>(buffer),
                                               arrow::default_memory_pool());
        EXPECT_TRUE(reader.ok()) << reader.status().ToString();
        const auto table = (*reader)->ReadTable();
        EXPECT_TRUE(table.ok()) << table.status().ToString();
        return *(*table)->CombineChunks();
    }
    /// The encodings of each column in the first row group.
    static std::map<std::string, std::set<parquet::Encoding::type>> encodings_of(
        const WrittenPart& part) {
        const auto buffer =
            std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(part.file.data()),
                                            static_cast<std::int64_t>(part.file.size()));
        const auto file =
            parquet::ParquetFileReader::Open(std::make_shared<arrow::io::BufferReader>(buffer));
        std::map<std::string, std::set<parquet::Encoding::type>> encodings;
        const auto group = file->metadata()->RowGroup(0);
        for (int i = 0; i < group->num_columns(); ++i) {
            const auto chunk = group->ColumnChunk(i);
            const auto& used = chunk->encodings();
            encodings[chunk->path_in_schema()->ToDotString()] = {used.begin(), used.end()};
        }
        return encodings;
    }
    static std::string value(const arrow::Table& table,
                             const std::string& column,
                             std::int64_t row) {
        const auto field = table.GetColumnByName(column);
        return field == nullptr ? "no column" : (*field->GetScalar(row))->ToString();
    }
    static const WrittenZone* zone(const WrittenPart& part, std::int32_t field) {
        for (const auto& candidate : part.zone_maps) {
            if (candidate.field.value == field) {
                return &candidate;
            }
        }
        return nullptr;
    }

    StreamSchema schema_;
    std::vector<HotChunk> chunks_;
};

TEST_F(PartWriter, AFewPlainChunksDoNotCostTheDictionary) {
    add_field("host", FieldType::kString);
    using Texts = std::vector<std::optional<std::string>>;
    chunks_.push_back(ChunkBuilder(0, {kSecond, kSecond, kSecond})
                          .text("host", FieldType::kString, Texts{"b", std::nullopt, "a"})
                          .build());
    chunks_.push_back(ChunkBuilder(3, std::vector<std::int64_t>(5, kSecond))
                          .coded("host", {"a", "c", "unused"}, {0, 1, 1, 0, 0})
                          .build());
    const auto part = write();
    ASSERT_TRUE(part) << part.error().message();
    const auto table = read(*part);
    EXPECT_EQ(value(*table, "host", 0), "b");
    EXPECT_EQ(value(*table, "host", 1), "null");
    EXPECT_EQ(value(*table, "host", 2), "a");
    EXPECT_EQ(value(*table, "host", 4), "c");
    EXPECT_EQ(zone(*part, 1)->max, "c");
    const auto buffer =
        std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(part->file.data()),
                                        static_cast<std::int64_t>(part->file.size()));
    const auto file =
        parquet::ParquetFileReader::Open(std::make_shared<arrow::io::BufferReader>(buffer));
    EXPECT_TRUE(file->metadata()->RowGroup(0)->ColumnChunk(4)->has_dictionary_page());
}

TEST_F(PartWriter, NumbersOfManyValuesHaveNoDictionary) {
    constexpr std::int64_t kRows = 1'000;
    using Numbers = std::vector<std::optional<std::uint64_t>>;
    std::vector<std::int64_t> times;
    Numbers few;
    Numbers many;
    Numbers ratios;
    for (std::int64_t row = 0; row < kRows; ++row) {
        times.push_back(kSecond + row);
        few.push_back(row % 7 == 0 ? 500 : 200);
        const auto value = row * 7'919 % 100'003 - 50'000;
        many.push_back(static_cast<std::uint64_t>(value));
        ratios.push_back(bits_of(static_cast<double>(value) / 3));
    }
    add_field("few", FieldType::kInt64);
    add_field("many", FieldType::kInt64);
    add_field("ratio", FieldType::kFloat64);
    chunks_.push_back(ChunkBuilder(0, times)
                          .fixed("few", FieldType::kInt64, few)
                          .fixed("many", FieldType::kInt64, many)
                          .fixed("ratio", FieldType::kFloat64, ratios)
                          .build());
    const auto part = write();
    ASSERT_TRUE(part) << part.error().message();
    const auto encodings = encodings_of(*part);
    EXPECT_TRUE(encodings.at("few").contains(parquet::Encoding::RLE_DICTIONARY));
    EXPECT_TRUE(encodings.at("many").contains(parquet::Encoding::DELTA_BINARY_PACKED));
    EXPECT_FALSE(encodings.at("many").contains(parquet::Encoding::RLE_DICTIONARY));
    EXPECT_TRUE(encodings.at("ratio").contains(parquet::Encoding::BYTE_STREAM_SPLIT));
    EXPECT_FALSE(encodings.at("ratio").contains(parquet::Encoding::RLE_DICTIONARY));
    const auto table = read(*part);
    EXPECT_EQ(value(*table, "many", 7), std::to_string(7 * 7'919 - 50'000));
}

TEST_F(PartWriter, EveryTypeComesBack) {
    for (const auto& [name, type] : {std::pair{"i", FieldType::kInt64},
                                     {"u", FieldType::kUint64},
                                     {"f", FieldType::kFloat64},
                                     {"b", FieldType::kBool},
                                     {"t", FieldType::kTimestamp},
                                     {"s", FieldType::kString},
                                     {"raw", FieldType::kBytes},
                                     {"j", FieldType::kJson}}) {
        add_field(name, type);
    }
    const auto minus_five = static_cast<std::uint64_t>(-5);
    chunks_.push_back(ChunkBuilder(7, {kSecond, -1})
                          .fixed("i", FieldType::kInt64, {minus_five, std::nullopt})
                          .fixed("u", FieldType::kUint64, {UINT64_MAX, 0})
                          .fixed("f", FieldType::kFloat64, {bits_of(0.1), std::nullopt})
                          .fixed("b", FieldType::kBool, {1, 0})
                          .text("s", FieldType::kString, {"é\n", std::nullopt})
                          .text("raw", FieldType::kBytes, {std::string("\0\xff", 2), ""})
                          .text("j", FieldType::kJson, {"[1]", "{}"})
                          .build());
    const auto part = write();
    ASSERT_TRUE(part) << part.error().message();
    EXPECT_EQ(part->rows, 2U);
    EXPECT_EQ(part->position_begin, Position{7});
    EXPECT_EQ(part->position_end, Position{9});
    EXPECT_EQ(part->time_min_ns, -1);
    const auto table = read(*part);
    EXPECT_EQ(value(*table, "i", 0), "-5");
    EXPECT_EQ(value(*table, "i", 1), "null");
    EXPECT_EQ(value(*table, "u", 0), "18446744073709551615");
    EXPECT_EQ(value(*table, "f", 0), "0.1");
    EXPECT_EQ(value(*table, "b", 1), "false");
    EXPECT_EQ(value(*table, "s", 0), "é\n");
    EXPECT_EQ(value(*table, "s", 1), "null");
    EXPECT_EQ(value(*table, "_shard", 0), "42");
    EXPECT_EQ(value(*table, "_position", 1), "8");
    // A nanosecond before 1970: microseconds are rounded down, the rest counts up.
    EXPECT_EQ(value(*table, "_timestamp_nanos", 1), "999");
    EXPECT_EQ(part->fields.size(), 7U) << "no value of t in these rows, no column";
}

TEST_F(PartWriter, ZoneMapsBoundTheValues) {
    add_field("i", FieldType::kInt64);
    add_field("s", FieldType::kString);
    add_field("f", FieldType::kFloat64);
    add_field("nan", FieldType::kFloat64);
    const std::string long_text(100, 'z');
    chunks_.push_back(
        ChunkBuilder(0, {1, 2, 3})
            .fixed("i", FieldType::kInt64, {static_cast<std::uint64_t>(-9), 4, std::nullopt})
            .text("s", FieldType::kString, {"b", long_text, "a"})
            .fixed("f", FieldType::kFloat64, {bits_of(-0.5), bits_of(2.25), bits_of(1)})
            .fixed("nan", FieldType::kFloat64, {bits_of(std::nan("")), bits_of(1), bits_of(2)})
            .build());
    const auto part = write();
    ASSERT_TRUE(part);
    EXPECT_EQ(zone(*part, 1)->min, "-9");
    EXPECT_EQ(zone(*part, 1)->max, "4");
    EXPECT_EQ(zone(*part, 1)->null_count, 1U);
    EXPECT_EQ(zone(*part, 2)->min, "a");
    // Cut at 64 bytes, and rounded up: nothing with the same beginning is above it.
    EXPECT_GT(zone(*part, 2)->max, long_text);
    EXPECT_LE(zone(*part, 2)->max.size(), 64U);
    EXPECT_EQ(std::stod(zone(*part, 3)->min), -0.5);
    EXPECT_EQ(std::stod(zone(*part, 3)->max), 2.25);
    EXPECT_EQ(zone(*part, 4), nullptr) << "NaN has no place in an order";
}

TEST_F(PartWriter, RowGroupsAreWhereThePartSaysTheyAre) {
    add_field("n", FieldType::kInt64);
    add_field("s", FieldType::kString);
    std::vector<std::int64_t> times;
    std::vector<std::optional<std::uint64_t>> numbers;
    std::vector<std::optional<std::string>> texts;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        times.push_back(static_cast<std::int64_t>(i));
        numbers.emplace_back(i * 7919);
        texts.emplace_back("text " + std::to_string(i));
    }
    chunks_.push_back(ChunkBuilder(0, times)
                          .fixed("n", FieldType::kInt64, numbers)
                          .text("s", FieldType::kString, texts)
                          .build());
    const auto part = write(300);
    ASSERT_TRUE(part);
    ASSERT_EQ(part->row_groups.size(), 4U);
    EXPECT_EQ(part->row_groups[3].rows, 100U);
    const auto buffer =
        std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(part->file.data()),
                                        static_cast<std::int64_t>(part->file.size()));
    const auto file =
        parquet::ParquetFileReader::Open(std::make_shared<arrow::io::BufferReader>(buffer));
    const auto metadata = file->metadata();
    ASSERT_EQ(metadata->num_row_groups(), 4);
    std::uint64_t before = 0;
    for (int i = 0; i < 4; ++i) {
        const auto group = metadata->RowGroup(i);
        const auto end = part->row_groups[static_cast<std::size_t>(i)].byte_end;
        EXPECT_LT(before, end);
        EXPECT_LE(end, part->file.size());
        for (int column = 0; column < group->num_columns(); ++column) {
            const auto begin =
                static_cast<std::uint64_t>(group->ColumnChunk(column)->data_page_offset());
            EXPECT_GE(begin, before);
            EXPECT_LT(begin, end);
        }
        before = end;
    }
    EXPECT_EQ(metadata->key_value_metadata()->Get("molesignal.format_version").ValueOr(""), "1");
}

TEST_F(PartWriter, ColumnsOfSeveralChunksMeetByNameAndType) {
    add_field("v", FieldType::kInt64);
    add_field("v", FieldType::kString);
    add_field("level", FieldType::kString);
    chunks_.push_back(ChunkBuilder(0, {1, 2})
                          .fixed("v", FieldType::kInt64, {10, 20})
                          .coded("level", {"info", "never used", "warn"}, {0, 2})
                          .build());
    chunks_.push_back(ChunkBuilder(2, {3})
                          .text("v", FieldType::kString, {"thirty"})
                          .text("level", FieldType::kString, {"error"})
                          .build());
    const auto part = write();
    ASSERT_TRUE(part) << part.error().message();
    const auto table = read(*part);
    EXPECT_EQ(value(*table, "v", 1), "20");
    EXPECT_EQ(value(*table, "v", 2), "null");
    EXPECT_EQ(value(*table, "v__string", 2), "thirty");
    EXPECT_EQ(zone(*part, 3)->min, "error");
    EXPECT_EQ(zone(*part, 3)->max, "warn");
    EXPECT_EQ(part->fields.size(), 3U);
}

TEST_F(PartWriter, AFieldWithoutAnIdIsAnError) {
    chunks_.push_back(ChunkBuilder(0, {1}).fixed("x", FieldType::kInt64, {1}).build());
    const auto part = write();
    ASSERT_FALSE(part);
    EXPECT_EQ(part.error().code(), ErrorCode::kInternal);
    EXPECT_NE(part.error().message().find("'x' (int64) has no id"), std::string::npos);
}

TEST_F(PartWriter, FieldsWithoutAValueInThePartAreLeftOut) {
    add_field("here", FieldType::kInt64);
    add_field("elsewhere", FieldType::kInt64);
    chunks_.push_back(ChunkBuilder(0, {1, 2})
                          .fixed("here", FieldType::kInt64, {std::nullopt, 5})
                          .fixed("elsewhere", FieldType::kInt64, {std::nullopt, std::nullopt})
                          .build());
    const auto part = write();
    ASSERT_TRUE(part) << part.error().message();
    EXPECT_EQ(part->fields, std::vector<FieldId>{FieldId{1}});
    EXPECT_EQ(value(*read(*part), "elsewhere", 0), "no column");
}

TEST_F(PartWriter, SparseColumnsAreWrittenByRow) {
    add_field("n", FieldType::kInt64);
    add_field("s", FieldType::kString);
    auto chunk = ChunkBuilder(0, {1, 2, 3, 4, 5, 6}).build();
    const std::vector<std::uint16_t> rows = {1, 4};
    const std::vector<std::uint64_t> numbers = {10, 40};
    const std::vector<TextSpan> texts = {{.data = "one", .size = 3}, {.data = "four", .size = 4}};
    HotColumnView column{.name = "n", .type = FieldType::kInt64, .rows = 6};
    column.sparse_rows = rows.data();
    column.sparse_size = 2;
    column.fixed = numbers.data();
    chunk.columns.push_back(column);
    column.name = "s";
    column.type = FieldType::kString;
    column.encoding = HotEncoding::kText;
    column.spans = texts.data();
    chunk.columns.push_back(column);
    chunks_.push_back(chunk);
    const auto part = write(4);
    ASSERT_TRUE(part) << part.error().message();
    const auto table = read(*part);
    const std::vector<std::string> expected = {"null", "10", "null", "null", "40", "null"};
    for (std::int64_t row = 0; row < 6; ++row) {
        EXPECT_EQ(value(*table, "n", row), expected[static_cast<std::size_t>(row)]) << row;
    }
    EXPECT_EQ(value(*table, "s", 4), "four");
    ASSERT_NE(zone(*part, 1), nullptr);
    EXPECT_EQ(zone(*part, 1)->null_count, 4U);
}

TEST_F(PartWriter, MemoryIsCountedAndGivenBack) {
    add_field("n", FieldType::kInt64);
    std::vector<std::int64_t> times(10'000);
    std::vector<std::optional<std::uint64_t>> numbers;
    for (std::size_t i = 0; i < times.size(); ++i) {
        times[i] = static_cast<std::int64_t>(i);
        numbers.emplace_back(i * 7919 % 10'007);
    }
    chunks_.push_back(ChunkBuilder(0, times).fixed("n", FieldType::kInt64, numbers).build());
    PartSlice slice;
    for (std::uint32_t row = 0; row < times.size(); ++row) {
        slice.rows.push_back(RowRef::make(0, row));
    }
    slice.group_ends = {times.size()};
    const auto memory = MemoryBudget::make_root("test", "none", 1LL << 30);
    const auto part = write_part(slice, chunks_, schema_, ShardId{1}, {}, memory);
    ASSERT_TRUE(part) << part.error().message();
    EXPECT_EQ(memory->used_bytes(), 0);
    EXPECT_GT(memory->peak_bytes(), 80'000);
}

}  // namespace
}  // namespace molesignal
