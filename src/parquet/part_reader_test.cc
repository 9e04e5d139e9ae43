#include "parquet/part_reader.h"

#include <algorithm>
#include <map>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/memory_fs.h"
#include "parquet/merged_part_writer.h"
#include "parquet/part_fixture.h"

namespace molesignal {
namespace {

std::shared_ptr<MemoryBudget> test_memory() {
    return MemoryBudget::make_root("test", "none", 1LL << 40);
}

class BufferRange final : public RangeReader {
public:
    explicit BufferRange(ByteBuffer file) : file_(std::move(file)) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        ++reads;
        if (fails) {
            return Error(ErrorCode::kUnavailable, "the store is gone");
        }
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }
    ByteBuffer& file() { return file_; }
    int reads = 0;
    bool fails = false;

private:
    ByteBuffer file_;
};

/// A value as text, so that rows of two files can be compared.
std::string shown(const HotColumnView& view, std::uint32_t row) {
    const auto slot = view.slot(row);
    if (slot == HotColumnView::kNoSlot) {
        return "null";
    }
    if (view.encoding == HotEncoding::kFixed) {
        return std::to_string(view.fixed[slot]);
    }
    return "'" + std::string(view.text(slot)) + "'";
}

using Row = std::map<std::string, std::string>;

/// All rows of a file by (shard, position); nulls are left out.
std::map<std::pair<std::uint64_t, std::uint64_t>, Row> rows_of(PartReader& reader) {
    std::map<std::pair<std::uint64_t, std::uint64_t>, Row> rows;
    for (std::size_t group = 0; group < reader.groups(); ++group) {
        const auto chunks = reader.read_group(group);
        EXPECT_TRUE(chunks) << chunks.error().message();
        for (const auto& chunk : *chunks) {
            for (std::uint32_t i = 0; i < chunk.rows.rows; ++i) {
                auto& row = rows[{chunk.shards[i], chunk.positions[i]}];
                EXPECT_TRUE(row.empty());
                row["time"] = std::to_string(chunk.rows.timestamps[i]);
                for (const auto& view : chunk.rows.columns) {
                    if (!view.is_null(i)) {
                        row[std::string(view.name) + "/" +
                            std::string(field_type_name(view.type))] = shown(view, i);
                    }
                }
            }
        }
    }
    return rows;
}

class PartReaderTest : public ::testing::Test {
protected:
    PartReaderTest() {
        int id = 1;
        for (const auto& [name, type] : {std::pair{"i", FieldType::kInt64},
                                         {"u", FieldType::kUint64},
                                         {"f", FieldType::kFloat64},
                                         {"b", FieldType::kBool},
                                         {"t", FieldType::kTimestamp},
                                         {"s", FieldType::kString},
                                         {"level", FieldType::kString},
                                         {"raw", FieldType::kBytes},
                                         {"j", FieldType::kJson},
                                         {"i", FieldType::kString}}) {
            schema_.variants.push_back({.id = FieldId{id++}, .name = name, .type = type});
        }
    }

    /// A part of `rows` rows of shard `shard` with all types, some values null.
    WrittenPart make_part(std::uint64_t shard, std::uint32_t rows, std::uint64_t rows_per_group) {
        using Numbers = std::vector<std::optional<std::uint64_t>>;
        using Texts = std::vector<std::optional<std::string>>;
        std::vector<HotChunk> chunks;
        PartSlice slice{.time_min_ns = INT64_MAX, .time_max_ns = INT64_MIN};
        for (std::uint32_t begin = 0; begin < rows; begin += HotChunk::kRowsMax) {
            const auto count = std::min(HotChunk::kRowsMax, rows - begin);
            std::vector<std::int64_t> times;
            Numbers numbers;
            Numbers bools;
            Numbers stamps;
            Texts texts;
            Texts seldom;
            std::vector<std::uint16_t> levels;
            for (std::uint32_t i = 0; i < count; ++i) {
                const auto row = begin + i;
                times.push_back(1'700'000'000'000'000'000 - static_cast<std::int64_t>(row) * 1'001);
                const bool is_null = random_() % 5 == 0;
                numbers.push_back(is_null ? std::nullopt : std::optional(random_()));
                bools.push_back(is_null ? std::nullopt : std::optional<std::uint64_t>(row % 2));
                stamps.push_back(std::uint64_t{row} * 1'000);
                texts.push_back(is_null ? std::nullopt
                                        : std::optional(fmt::format("text {}", random_())));
                seldom.push_back(row % 1'000 == 7 ? std::optional<std::string>("[1]")
                                                  : std::nullopt);
                levels.push_back(static_cast<std::uint16_t>(random_() % 3));
                slice.rows.push_back(RowRef::make(chunks.size(), i));
                if (slice.rows.size() % rows_per_group == 0) {
                    slice.group_ends.push_back(slice.rows.size());
                }
            }
            slice.time_min_ns = std::min(slice.time_min_ns, times.back());
            slice.time_max_ns = std::max(slice.time_max_ns, times.front());
            auto builder = ChunkBuilder(100 + begin, times);
            builder.fixed("i", FieldType::kInt64, numbers)
                .fixed("u", FieldType::kUint64, numbers)
                .fixed("f", FieldType::kFloat64, numbers)
                .fixed("b", FieldType::kBool, bools)
                .fixed("t", FieldType::kTimestamp, stamps)
                .text("s", FieldType::kString, texts)
                .coded("level", {"debug", "info", "error"}, levels)
                .text("raw", FieldType::kBytes, texts)
                .text("j", FieldType::kJson, seldom)
                .text("i", FieldType::kString, seldom)
                .text(std::string(kExtraField), FieldType::kJson, seldom);
            chunks.push_back(builder.build());
        }
        if (slice.group_ends.empty() || slice.group_ends.back() != slice.rows.size()) {
            slice.group_ends.push_back(slice.rows.size());
        }
        auto part = write_part(slice,
                               chunks,
                               schema_,
                               ShardId{shard},
                               {.zstd_level = 1, .rows_per_group = rows_per_group},
                               test_memory());
        EXPECT_TRUE(part);
        return std::move(*part);
    }

    StreamSchema schema_;
    std::mt19937_64 random_{42};
};

TEST_F(PartReaderTest, ReadsWhatWasWritten) {
    BufferRange source(make_part(7, 40'000, 32'768).file);
    auto reader = PartReader::open(source, schema_, test_memory());
    ASSERT_TRUE(reader) << reader.error().message();
    ASSERT_EQ((*reader)->groups(), 2U);
    EXPECT_EQ((*reader)->group_rows(0), 32'768U);
    EXPECT_EQ((*reader)->group_time_max_ns(0), 1'700'000'000'000'000'999);
    const auto rows = rows_of(**reader);
    ASSERT_EQ(rows.size(), 40'000U);
    const auto& row = rows.at({7, 100 + 20'007});
    EXPECT_EQ(row.at("time"), std::to_string(1'700'000'000'000'000'000 - 20'007LL * 1'001));
    EXPECT_EQ(row.at("t/timestamp"), "20007000");
    EXPECT_EQ(row.at("j/json"), "'[1]'");
    EXPECT_EQ(row.at("i/string"), "'[1]'");
    EXPECT_EQ(row.at("_extra/json"), "'[1]'");
}

TEST_F(PartReaderTest, ARowGroupIsOneRead) {
    BufferRange source(make_part(7, 40'000, 32'768).file);
    auto reader = PartReader::open(source, schema_, test_memory());
    ASSERT_TRUE(reader);
    const auto before = source.reads;
    ASSERT_TRUE((*reader)->read_group(0));
    EXPECT_EQ(source.reads, before + 1);
}

TEST_F(PartReaderTest, OneColumnIsReadAlone) {
    BufferRange source(make_part(7, 20'000, 32'768).file);
    auto reader = PartReader::open(source, schema_, test_memory());
    ASSERT_TRUE(reader);
    const auto all = (*reader)->read_group(0);
    ASSERT_TRUE(all);
    for (std::size_t column = 0; column < (*reader)->columns().size(); ++column) {
        const auto chunks = (*reader)->read_column(0, column);
        ASSERT_TRUE(chunks) << chunks.error().message();
        ASSERT_EQ(chunks->size(), all->size());
        for (std::size_t i = 0; i < chunks->size(); ++i) {
            const auto& alone = chunks->at(i).columns.at(0);
            const auto& among = all->at(i).rows.columns.at(column);
            EXPECT_EQ(alone.name, among.name);
            for (std::uint32_t row = 0; row < chunks->at(i).rows; ++row) {
                ASSERT_EQ(shown(alone, row), shown(among, row));
            }
        }
    }
}

TEST_F(PartReaderTest, MergedRowsAreTheRows) {
    BufferRange first(make_part(7, 40'000, 32'768).file);
    BufferRange second(make_part(8, 17'000, 10'000).file);
    auto a = PartReader::open(first, schema_, test_memory());
    auto b = PartReader::open(second, schema_, test_memory());
    ASSERT_TRUE(a && b);
    MemoryFs fs;
    const auto out = fs.open("merged", OpenMode::kCreateNew);
    ASSERT_TRUE(out);
    const auto columns = (*a)->columns();
    auto writer = MergedPartWriter::open(**out,
                                         {columns.begin(), columns.end()},
                                         "level",
                                         {.zstd_level = 1, .rows_per_group = 32'768},
                                         test_memory());
    ASSERT_TRUE(writer) << writer.error().message();
    auto expected = rows_of(**a);
    expected.merge(rows_of(**b));
    for (auto* reader : {a->get(), b->get()}) {
        for (std::size_t group = 0; group < reader->groups(); ++group) {
            const auto chunks = reader->read_group(group);
            ASSERT_TRUE(chunks);
            std::vector<RowRef> rows;
            for (std::size_t i = 0; i < chunks->size(); ++i) {
                for (std::uint32_t row = 0; row < chunks->at(i).rows.rows; ++row) {
                    rows.push_back(RowRef::make(i, row));
                }
            }
            std::ranges::reverse(rows);
            const auto written = (*writer)->write_group(*chunks, rows);
            ASSERT_TRUE(written) << written.error().message();
        }
    }
    const auto part = (*writer)->finish();
    ASSERT_TRUE(part) << part.error().message();
    EXPECT_EQ(part->rows, 57'000U);
    EXPECT_EQ(part->shard, ShardId{0});
    EXPECT_EQ(part->position_begin, Position{100});
    EXPECT_EQ(part->position_end, Position{40'100});
    EXPECT_EQ(part->sort_order, "level, _timestamp desc");
    EXPECT_EQ(part->row_groups.size(), 4U);
    EXPECT_EQ(part->fields.size(), 10U);

    FileRange source(**out, part->file_bytes);
    auto merged = PartReader::open(source, schema_, test_memory());
    ASSERT_TRUE(merged) << merged.error().message();
    EXPECT_EQ(rows_of(**merged), expected);
    EXPECT_TRUE(std::ranges::equal((*merged)->columns(), columns, [](const auto& x, const auto& y) {
        return x.id == y.id && x.field == y.field && x.type == y.type && x.coded == y.coded;
    }));
    // The bounds are those of the parts together.
    const auto level = std::ranges::find(part->zone_maps, FieldId{7}, &WrittenZone::field);
    ASSERT_NE(level, part->zone_maps.end());
    EXPECT_EQ(level->min, "debug");
    EXPECT_EQ(level->max, "info");
    EXPECT_EQ(level->null_count, 0U);
    const auto seldom = std::ranges::find(part->zone_maps, FieldId{10}, &WrittenZone::field);
    ASSERT_NE(seldom, part->zone_maps.end());
    EXPECT_EQ(seldom->null_count, 57'000U - 40 - 17);
}

TEST_F(PartReaderTest, AFlippedPageIsAnErrorOrTheSameRows) {
    auto part = make_part(7, 3'000, 32'768);
    BufferRange good(part.file);
    auto whole = PartReader::open(good, schema_, test_memory());
    ASSERT_TRUE(whole);
    const auto expected = rows_of(**whole);
    const auto data_end = (*whole)->group_range(0).second;
    int errors = 0;
    for (int i = 0; i < 200; ++i) {
        BufferRange bad(part.file);
        const auto at = random_() % data_end;
        bad.file()[at] ^= static_cast<std::byte>(1U << (random_() % 8));
        auto reader = PartReader::open(bad, schema_, test_memory());
        ASSERT_TRUE(reader);
        const auto chunks = (*reader)->read_group(0);
        if (!chunks) {
            EXPECT_EQ(chunks.error().code(), ErrorCode::kCorruption) << chunks.error().message();
            ++errors;
        }
    }
    EXPECT_GT(errors, 150);
}

TEST_F(PartReaderTest, ErrorsOfTheSourcePassThrough) {
    BufferRange source(make_part(7, 100, 32'768).file);
    auto reader = PartReader::open(source, schema_, test_memory());
    ASSERT_TRUE(reader);
    source.fails = true;
    const auto group = (*reader)->read_group(0);
    ASSERT_FALSE(group);
    EXPECT_EQ(group.error().code(), ErrorCode::kUnavailable);
    const auto column = (*reader)->read_column(0, 0);
    ASSERT_FALSE(column);
    EXPECT_EQ(column.error().code(), ErrorCode::kUnavailable);
    const auto opened = PartReader::open(source, schema_, test_memory());
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kUnavailable);
}

TEST_F(PartReaderTest, WhatIsNoPartIsCorrupt) {
    for (const auto size : {0U, 4U, 100U}) {
        BufferRange source{ByteBuffer(size)};
        const auto opened = PartReader::open(source, schema_, test_memory());
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
    }
    BufferRange source(make_part(7, 100, 32'768).file);
    const auto opened = PartReader::open(source, StreamSchema{}, test_memory());
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
}

TEST_F(PartReaderTest, MemoryIsCountedAndGivenBack) {
    BufferRange source(make_part(7, 40'000, 32'768).file);
    const auto memory = test_memory();
    {
        auto reader = PartReader::open(source, schema_, memory);
        ASSERT_TRUE(reader);
        auto chunks = (*reader)->read_group(0);
        ASSERT_TRUE(chunks);
        reader->reset();
        EXPECT_GT(memory->used_bytes(), 32'768 * 60);
        // The chunks are still there.
        EXPECT_EQ(chunks->at(0).rows.timestamps[0], 1'700'000'000'000'000'000);
    }
    EXPECT_EQ(memory->used_bytes(), 0);
}

}  // namespace
}  // namespace molesignal
