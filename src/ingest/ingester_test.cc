#include "ingest/ingester.h"

#include <atomic>
#include <filesystem>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"
#include "objectstore/local_object_store.h"

namespace molesignal {
namespace {

/// An ingester on files in memory and a catalogue in a temporary directory.
class IngesterTest : public ::testing::Test {
protected:
    void SetUp() override {
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("molesignal-ingester-{}-{}", ::getpid(), ++instances_);
        std::filesystem::create_directories(directory_);
        catalogue_ = *open_sqlite_catalogue(directory_ / "meta.db", clock_, random_);
        ASSERT_TRUE(catalogue_->migrate(context_));
        org_ = catalogue_->ensure_organization(context_, "default")->id;
        objects_ = *LocalObjectStore::open(context_, fs_, "objects", random_);
        options_.wal_directory = "wal";
        options_.wal.segment_bytes = 1 << 16;
        options_.wal.reserve_bytes = 0;
        options_.flush_interval = std::chrono::seconds(3600);
        open();
    }
    void TearDown() override {
        disarm_failpoints();
        if (ingester_ != nullptr) {
            EXPECT_TRUE(ingester_->close(context_));
        }
        ingester_.reset();
        catalogue_.reset();
        std::filesystem::remove_all(directory_);
    }
    void open() {
        auto opened = Ingester::open(context_,
                                     options_,
                                     fs_,
                                     *catalogue_,
                                     *objects_,
                                     clock_,
                                     random_,
                                     metrics_,
                                     MemoryBudget::make_root("test", "none", 1LL << 30),
                                     [](std::uint64_t) {});
        ASSERT_TRUE(opened) << opened.error().message();
        ingester_ = std::move(*opened);
    }
    void reopen() {
        ASSERT_TRUE(ingester_->close(context_));
        ingester_.reset();
        open();
    }
    Result<IngestReceipt> ingest(std::uint32_t rows,
                                 CommitMode mode = CommitMode::kAuto,
                                 const std::string& stream = "app") {
        RowBatch batch;
        const auto now = clock_.now().value;
        for (std::uint32_t row = 0; row < rows; ++row) {
            batch.timestamps.push_back(now);
            batch.columns[batch.find_or_add("n", FieldType::kInt64)].append_fixed(row, next_++);
        }
        batch.finish();
        std::vector<RowBatch> batches;
        batches.push_back(std::move(batch));
        return ingester_->ingest(
            context_, org_, StreamType::kLogs, stream, std::move(batches), rows, mode);
    }
    /// Rows that a query would see: hot ones and those in parts, by the snapshot rule.
    std::multiset<std::uint64_t> visible(const std::string& stream = "app") {
        const auto info = catalogue_->find_stream(context_, org_, StreamType::kLogs, stream);
        auto hot = ingester_->hot_snapshot((*info)->id);
        std::int64_t parts_total = 0;
        const auto snapshot =
            catalogue_->snapshot(context_, (*info)->id, INT64_MIN, INT64_MAX, parts_total);
        std::vector<std::pair<ShardId, Position>> checkpoints;
        for (const auto& shard : snapshot->shards) {
            checkpoints.emplace_back(shard.id, shard.checkpoint);
        }
        drop_flushed_rows(hot, checkpoints);
        std::multiset<std::uint64_t> rows;
        for (const auto& chunk : hot.chunks) {
            for (auto row = chunk.begin; row < chunk.rows; ++row) {
                rows.insert(chunk.find("n", FieldType::kInt64)->fixed_at(row));
            }
        }
        hot_rows_ = rows.size();
        part_rows_ = 0;
        for (const auto& part : snapshot->parts) {
            part_rows_ += static_cast<std::size_t>(part.rows);
        }
        return rows;
    }

    static inline std::atomic<int> instances_ = 0;
    std::filesystem::path directory_;
    SystemClock clock_;
    SystemRandom random_;
    MetricRegistry metrics_;
    MemoryFs fs_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    std::unique_ptr<Catalogue> catalogue_;
    std::unique_ptr<LocalObjectStore> objects_;
    IngesterOptions options_;
    std::unique_ptr<Ingester> ingester_;
    OrgId org_;
    std::uint64_t next_ = 0;
    std::size_t hot_rows_ = 0;
    std::size_t part_rows_ = 0;
};

TEST_F(IngesterTest, RowsAreVisibleAtTheAcknowledgement) {
    for (std::uint32_t rows = 1; rows < 20; ++rows) {
        const auto receipt = ingest(rows);
        ASSERT_TRUE(receipt) << receipt.error().message();
        EXPECT_EQ(receipt->end.value - receipt->begin.value, rows);
        EXPECT_EQ(visible().size(), next_);
    }
}

TEST_F(IngesterTest, ForceFlushesAndEveryRowIsSeenOnce) {
    ASSERT_TRUE(ingest(5));
    const auto receipt = ingest(3, CommitMode::kForce);
    ASSERT_TRUE(receipt) << receipt.error().message();
    visible();
    EXPECT_EQ(hot_rows_, 0U);
    EXPECT_EQ(part_rows_, 8U);
    ASSERT_TRUE(ingest(2));
    EXPECT_EQ(visible().size(), 2U);
    EXPECT_EQ(part_rows_, 8U);
}

TEST_F(IngesterTest, RestartKeepsRowsAndUsesANewShard) {
    const auto first = ingest(4);
    ASSERT_TRUE(ingest(4, CommitMode::kAuto, "other"));
    reopen();
    visible();
    EXPECT_EQ(hot_rows_ + part_rows_, 4U);
    const auto second = ingest(4);
    ASSERT_TRUE(second);
    EXPECT_NE(first->shard, second->shard);
    ASSERT_TRUE(ingester_->flush_all(context_));
    visible();
    EXPECT_EQ(hot_rows_, 0U);
    EXPECT_EQ(part_rows_, 8U);
    reopen();
    visible();
    EXPECT_EQ(hot_rows_ + part_rows_, 8U);
}

TEST_F(IngesterTest, AFlushThatFailsAtAnyStepIsFinishedLater) {
    for (const auto* point : {"flush_begin",
                              "flush_fields_assigned",
                              "flush_intent_recorded",
                              "flush_part_written",
                              "flush_part_stored",
                              "flush_all_stored",
                              "flush_committed",
                              "flush_before_truncate"}) {
        SCOPED_TRACE(point);
        const auto before = next_;
        ASSERT_TRUE(arm_failpoints(fmt::format("{}=error", point)));
        const auto receipt = ingest(6, CommitMode::kForce);
        ASSERT_TRUE(receipt) << receipt.error().message();
        visible();
        EXPECT_EQ(hot_rows_, 0U);
        EXPECT_EQ(part_rows_, before + 6);
    }
    EXPECT_TRUE(catalogue_->list_flush_intents(context_)->empty());
}

TEST_F(IngesterTest, AnUnfinishedFlushIsUndoneAtTheNextStart) {
    ASSERT_TRUE(ingest(6));
    ASSERT_TRUE(arm_failpoints("flush_all_stored=error"));
    auto soon = context_;
    soon.deadline = clock_.steady_now() + std::chrono::milliseconds(50);
    EXPECT_FALSE(ingester_->flush_all(soon));
    EXPECT_EQ(catalogue_->list_flush_intents(context_)->size(), 1U);
    disarm_failpoints();
    reopen();
    ASSERT_TRUE(ingester_->flush_all(context_));
    visible();
    EXPECT_EQ(part_rows_, 6U);
    EXPECT_TRUE(catalogue_->list_flush_intents(context_)->empty());
    std::size_t objects = 0;
    ASSERT_TRUE(objects_->list(context_, "", [&](const ObjectMeta&) { return ++objects > 0; }));
    EXPECT_EQ(objects, 2U);
}

TEST_F(IngesterTest, ReplayLargerThanTheMemoryFlushesOnTheWay) {
    for (int i = 0; i < 40; ++i) {
        ASSERT_TRUE(ingest(2000));
    }
    ASSERT_TRUE(ingester_->close(context_));
    ingester_.reset();
    options_.memory_bytes_max = 300'000;
    options_.memtable_bytes = 100'000;
    open();
    visible();
    EXPECT_EQ(hot_rows_ + part_rows_, 80'000U);
    EXPECT_GT(part_rows_, 40'000U);
}

TEST_F(IngesterTest, FullMemoryIsBackPressureAndFlushingMakesRoom) {
    options_.memory_bytes_max = 400'000;
    options_.persist_timeout = std::chrono::milliseconds(5000);
    reopen();
    for (int i = 0; i < 50; ++i) {
        const auto receipt = ingest(2000);
        ASSERT_TRUE(receipt) << receipt.error().message();
    }
    visible();
    EXPECT_EQ(hot_rows_ + part_rows_, 100'000U);
    EXPECT_GT(part_rows_, 0U);
}

TEST_F(IngesterTest, AForeignCatalogueIsRefused) {
    ASSERT_TRUE(ingest(3));
    ASSERT_TRUE(ingester_->close(context_));
    ingester_.reset();
    auto other = *open_sqlite_catalogue(directory_ / "other.db", clock_, random_);
    ASSERT_TRUE(other->migrate(context_));
    const auto opened = Ingester::open(context_,
                                       options_,
                                       fs_,
                                       *other,
                                       *objects_,
                                       clock_,
                                       random_,
                                       metrics_,
                                       MemoryBudget::make_root("test", "none", 1LL << 30),
                                       [](std::uint64_t) {});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kConflict);
    open();
    EXPECT_EQ(visible().size(), 3U);
}

TEST_F(IngesterTest, ADeletedStreamLeavesNothing) {
    ASSERT_TRUE(ingest(3));
    const auto info = *catalogue_->find_stream(context_, org_, StreamType::kLogs, "app");
    ASSERT_TRUE(catalogue_->delete_stream(context_, org_, info->id));
    ASSERT_TRUE(ingester_->drop_stream(context_, info->id));
    EXPECT_EQ(ingester_->hot_snapshot(info->id).rows(), 0U);
    ASSERT_TRUE(ingest(2));
    EXPECT_EQ(visible().size(), 2U);
    reopen();
    visible();
    EXPECT_EQ(hot_rows_ + part_rows_, 2U);
}

}  // namespace
}  // namespace molesignal
