#include "compaction/part_merge.h"

#include <algorithm>

#include "common/clock.h"
#include "compaction/compaction_fixture.h"
#include "io/memory_fs.h"
#include "io/range_reader.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::int64_t kHour = 3'600'000'000'000;
constexpr std::int64_t kDay0 = 1'700'006'400'000'000'000;  // The begin of a UTC day.

class PartMergeTest : public ::testing::Test {
protected:
    PartMergeTest() { out_ = *fs_.open("merged", OpenMode::kCreateNew); }
    PartInfo make(std::uint64_t shard,
                  std::uint64_t position,
                  std::uint32_t rows,
                  std::int64_t begin_ns,
                  std::int64_t span_ns) {
        parts_.push_back(
            maker_.make(objects_, context_, ShardId{shard}, position, rows, begin_ns, span_ns));
        maker_.read(objects_, context_, parts_.back(), expected_);
        return parts_.back();
    }
    Result<MergedPart> merge() {
        const auto schema = maker_.schema();
        return merge_parts(
            context_,
            objects_,
            {.parts = parts_,
             .schema = schema,
             .writer = {.zstd_level = 1, .rows_per_group = 1'500}},
            *out_,
            [this](std::uint64_t bytes) -> Result<> {
                ++paced_;
                paced_bytes_ += bytes;
                return stop_after_ == paced_ ? Result<>(Error(ErrorCode::kCancelled, "stop"))
                                             : Result<>();
            },
            memory_);
    }
    /// The merged file against the rows of all parts, and its order.
    void check(const MergedPart& merged) {
        EXPECT_EQ(merged.rows, expected_.size());
        const auto schema = maker_.schema();
        FileRange range(*out_, merged.file_bytes);
        auto reader = PartReader::open(range, schema, nullptr);
        ASSERT_TRUE(reader) << reader.error().message();
        TestRows rows;
        auto older_than = std::numeric_limits<std::int64_t>::max();
        std::uint64_t group_end = 0;
        for (std::size_t group = 0; group < (*reader)->groups(); ++group) {
            EXPECT_LE((*reader)->group_rows(group), 1'500U);
            const auto chunks = (*reader)->read_group(group);
            ASSERT_TRUE(chunks);
            std::optional<std::pair<std::string, std::int64_t>> last;
            auto oldest = older_than;
            for (const auto& chunk : *chunks) {
                for (std::uint32_t row = 0; row < chunk.rows.rows; ++row) {
                    auto values = test_row(chunk, row);
                    const auto time = chunk.rows.timestamps[row];
                    ASSERT_LE(time, older_than);
                    oldest = std::min(oldest, time);
                    const auto service = values.find("service/string");
                    // By service, the rows without one first, then the newest first.
                    const std::pair key(service == values.end() ? "" : service->second, -time);
                    ASSERT_TRUE(!last || *last <= key);
                    last = key;
                    ASSERT_TRUE(rows.try_emplace({chunk.shards[row], chunk.positions[row]},
                                                 std::move(values))
                                    .second);
                }
            }
            older_than = oldest;
            group_end += (*reader)->group_rows(group);
        }
        EXPECT_EQ(group_end, merged.rows);
        EXPECT_EQ(rows == expected_, true);
        ByteBuffer file(merged.file_bytes);
        ASSERT_TRUE(out_->read_at(0, file));
        EXPECT_EQ(XXH3_64bits(file.data(), file.size()), merged.file_xxh3);
    }

    const std::uint64_t seed_ = test_seed();
    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryObjectStore objects_;
    MemoryFs fs_;
    PartMaker maker_{StreamId{"stream"}, seed_};
    std::shared_ptr<MemoryBudget> memory_ = MemoryBudget::make_root("test", "none", 1LL << 40);
    std::unique_ptr<File> out_;
    std::vector<PartInfo> parts_;
    TestRows expected_;
    int paced_ = 0;
    int stop_after_ = -1;
    std::uint64_t paced_bytes_ = 0;
};

TEST_F(PartMergeTest, PartsBesideEachOther) {
    for (int i = 0; i < 4; ++i) {
        make(7, static_cast<std::uint64_t>(i) * 5'000, 3'100, kDay0 + i * kHour, kHour);
    }
    const auto merged = merge();
    ASSERT_TRUE(merged) << merged.error().message();
    EXPECT_EQ(merged->shard, ShardId{7});
    EXPECT_EQ(merged->sort_order, "service, _timestamp desc");
    check(*merged);
    // Every byte read and written is paced, but the footers of both sides.
    EXPECT_GT(paced_bytes_, merged->file_bytes);
    EXPECT_EQ(memory_->used_bytes(), 0);
}

TEST_F(PartMergeTest, PartsOfTheSameTimeAndSeveralShards) {
    for (std::uint64_t shard = 1; shard <= 5; ++shard) {
        make(shard, 0, 2'222, kDay0, 2 * kHour);
    }
    make(3, 90'000, 17'000, kDay0, 6 * kHour);
    const auto merged = merge();
    ASSERT_TRUE(merged) << merged.error().message();
    EXPECT_EQ(merged->shard, ShardId{0});
    EXPECT_EQ(merged->position_begin, Position{0});
    EXPECT_EQ(merged->position_end, Position{107'000});
    check(*merged);
}

TEST_F(PartMergeTest, AllRowsAtOneTime) {
    make(1, 0, 4'000, kDay0, 1);
    make(2, 0, 4'000, kDay0, 1);
    const auto merged = merge();
    ASSERT_TRUE(merged) << merged.error().message();
    check(*merged);
}

TEST_F(PartMergeTest, RandomParts) {
    SeededRandom random(seed_);
    for (std::uint64_t i = 0; i < 12; ++i) {
        const auto span = static_cast<std::int64_t>(random.next_u64() % (4 * kHour)) + 1;
        make(1 + random.next_u64() % 3,
             i * 100'000,
             static_cast<std::uint32_t>(1 + random.next_u64() % 4'000),
             kDay0 + static_cast<std::int64_t>(random.next_u64() % (20 * kHour)),
             span);
    }
    const auto merged = merge();
    ASSERT_TRUE(merged) << merged.error().message();
    check(*merged);
}

TEST_F(PartMergeTest, AMergeOfMergedPartsIsTheSameRows) {
    make(1, 0, 3'000, kDay0, kHour);
    make(2, 0, 3'000, kDay0, kHour);
    auto merged = merge();
    ASSERT_TRUE(merged);
    // The result becomes a part beside a third one.
    ByteBuffer file(merged->file_bytes);
    ASSERT_TRUE(out_->read_at(0, file));
    ASSERT_TRUE(objects_.put(context_, "merged.parquet", file));
    PartInfo part = parts_.front();
    part.id = "merged";
    part.objects = {{.kind = "parquet",
                     .key = "merged.parquet",
                     .bytes = static_cast<std::int64_t>(merged->file_bytes),
                     .xxh3 = merged->file_xxh3}};
    part.rows = static_cast<std::int64_t>(merged->rows);
    parts_ = {part};
    make(3, 0, 3'000, kDay0, kHour);
    out_ = *fs_.open("again", OpenMode::kCreateNew);
    merged = merge();
    ASSERT_TRUE(merged) << merged.error().message();
    check(*merged);
}

TEST_F(PartMergeTest, AnyFlipOfAnInputIsFoundAndNamed) {
    make(1, 0, 900, kDay0, kHour);
    const auto part = make(2, 0, 900, kDay0, kHour);
    const auto& object = part.objects[0];
    const auto good = *objects_.get(context_, object.key, 0, UINT64_MAX);
    SeededRandom random(seed_);
    for (int i = 0; i < 100; ++i) {
        auto bad = good;
        bad[random.next_u64() % bad.size()] ^=
            static_cast<std::byte>(1U << (random.next_u64() % 8));
        ASSERT_TRUE(objects_.put(context_, object.key, bad));
        out_ = *fs_.open(fmt::format("flip{}", i), OpenMode::kCreateNew);
        const auto merged = merge();
        ASSERT_FALSE(merged);
        EXPECT_EQ(merged.error().code(), ErrorCode::kCorruption);
        EXPECT_NE(merged.error().message().find(part.id), std::string::npos)
            << merged.error().message();
    }
    ASSERT_TRUE(objects_.put(context_, object.key, Bytes(good).first(good.size() / 2)));
    out_ = *fs_.open("short", OpenMode::kCreateNew);
    EXPECT_EQ(merge().error().code(), ErrorCode::kCorruption);
}

TEST_F(PartMergeTest, OtherRowsThanTheCatalogueSaysAreAnError) {
    make(1, 0, 900, kDay0, kHour);
    parts_[0].rows = 901;
    const auto merged = merge();
    ASSERT_FALSE(merged);
    EXPECT_EQ(merged.error().code(), ErrorCode::kCorruption);
}

TEST_F(PartMergeTest, StopsWhereItIsTold) {
    make(1, 0, 9'000, kDay0, kHour);
    stop_after_ = 2;
    const auto merged = merge();
    ASSERT_FALSE(merged);
    EXPECT_EQ(merged.error().code(), ErrorCode::kCancelled);
    EXPECT_EQ(paced_, 2);
    EXPECT_EQ(memory_->used_bytes(), 0);
}

TEST_F(PartMergeTest, MemoryIsThatOfOpenGroups) {
    // Ten parts beside each other take no more than two do.
    const auto peak = [this](int parts) {
        parts_.clear();
        expected_.clear();
        memory_ = MemoryBudget::make_root("test", "none", 1LL << 40);
        for (int i = 0; i < parts; ++i) {
            make(7, static_cast<std::uint64_t>(i) * 9'000, 8'000, kDay0 + i * kHour, kHour);
        }
        out_ = *fs_.open(fmt::format("peak{}", parts), OpenMode::kCreateNew);
        EXPECT_TRUE(merge());
        return memory_->peak_bytes();
    };
    const auto two = peak(2);
    EXPECT_LT(peak(10), two * 3 / 2);
}

TEST(MergeBytes, CountsPartsOfTheSameTime) {
    PartInfo part;
    part.rows = 10'000;
    part.raw_bytes = 10'000'000;
    part.row_groups = {{.rows = 1'000, .byte_end = 1}};
    std::vector<PartInfo> parts;
    for (int i = 0; i < 10; ++i) {
        part.time_min_us = i * 1'000;
        part.time_max_us = i * 1'000 + 500;
        parts.push_back(part);
    }
    // Two groups of 1,000 rows of 1,000 bytes.
    EXPECT_EQ(merge_bytes(parts), 2'000'000U);
    for (auto& same : parts) {
        same.time_min_us = 0;
    }
    EXPECT_EQ(merge_bytes(parts), 20'000'000U);
}

}  // namespace
}  // namespace molesignal
