// Disks and process limits that run out.
#include <gtest/gtest.h>

#include "io/memory_fs.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"
#include "tests/support/small_disk_fs.h"
#include "wal/wal_fixture.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kSegment = 4096;
constexpr std::uint64_t kReserve = 8192;

class WalSpace : public ::testing::Test {
protected:
    void open() {
        wal_.reset();
        auto opened = Wal::open(context_, "wal", options_, faults_, clock_, metrics_);
        ASSERT_TRUE(opened) << opened.error().message();
        wal_ = std::move(*opened);
        rows_replayed_ = 0;
        ASSERT_TRUE(wal_->replay(context_, [this](const WalBatch& batch) -> Result<> {
            rows_replayed_ += batch.rows;
            return {};
        }));
    }
    Result<> append(std::uint64_t queue, std::string_view text) {
        auto& next = next_[queue];
        const Bytes pieces[] = {as_bytes(text)};
        MS_TRY(const auto lsn, wal_->append(QueueId{queue}, Position{next}, 1, pieces));
        ++next;
        return wal_->commit(context_, lsn);
    }
    /// Fills the log until a row is refused; how.
    Error fill() {
        while (true) {
            if (auto done = append(1, std::string(1000, 'x')); !done) {
                return std::move(done).error();
            }
        }
    }
    bool reserve_exists() { return *memory_.exists("wal/reserve"); }

    QuietLog quiet_;
    ManualClock clock_;
    MetricRegistry metrics_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryFs memory_;
    SmallDiskFs disk_{memory_, 1U << 20U};
    FaultFs faults_{disk_};
    WalOptions options_{
        .segment_bytes = kSegment, .total_bytes_max = 16U << 20U, .reserve_bytes = kReserve};
    std::unique_ptr<Wal> wal_;
    std::map<std::uint64_t, std::uint64_t> next_;
    std::uint64_t rows_replayed_ = 0;
};

TEST_F(WalSpace, AFullDiskRefusesRowsAndTakesThemAgainByItself) {
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    const auto full = fill();
    EXPECT_EQ(full.code(), ErrorCode::kResourceExhausted);
    EXPECT_TRUE(wal_->stats().out_of_space);
    EXPECT_TRUE(reserve_exists()) << "rows do not take the reserve";
    // A flush needs room for its parts: whoever flushes frees the reserve.
    EXPECT_TRUE(wal_->release_reserve());
    EXPECT_FALSE(wal_->release_reserve()) << "there is one";
    EXPECT_GE(disk_.space("")->available_bytes, kReserve);
    // What is free now is not for rows, and the reserve does not come back before there is room.
    wal_->maintain();
    EXPECT_EQ(append(1, std::string(1000, 'x')).error().code(), ErrorCode::kResourceExhausted);
    EXPECT_FALSE(reserve_exists());
    // The flush is done.
    ASSERT_TRUE(wal_->truncate(context_, QueueId{1}, Position{next_[1]}));
    wal_->maintain();
    EXPECT_TRUE(reserve_exists());
    EXPECT_FALSE(wal_->stats().out_of_space) << "seen without a writer";
    EXPECT_TRUE(append(1, "taken again"));
}

TEST_F(WalSpace, TruncatesGoOnWithTheLastBytes) {
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    (void)fill();
    ASSERT_TRUE(wal_->release_reserve());
    // The flush used nearly all of it, and the segment in use is full.
    disk_.set_capacity(disk_.used_bytes() + kSegment / 2);
    for (std::uint64_t position = 1; position <= next_[1]; ++position) {
        ASSERT_TRUE(wal_->truncate(context_, QueueId{1}, Position{position})) << position;
    }
    disk_.set_capacity(1U << 20U);
    wal_->maintain();
    EXPECT_TRUE(append(1, "taken again"));
    open();
    EXPECT_EQ(rows_replayed_, 1U);
}

TEST_F(WalSpace, ALackOfDescriptorsDoesNotTakeTheReserve) {
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    faults_.arm({.verbs = {FsVerb::kOpen},
                 .plan = {.times = FaultTimes::kForEver},
                 .code = ErrorCode::kResourceExhausted});
    (void)fill();
    EXPECT_FALSE(wal_->release_reserve());
    // Bookkeeping that needs a segment.
    Result<> done;
    const ByteBuffer description(1000);
    for (std::uint64_t queue = 2; done.has_value(); ++queue) {
        done = wal_->create_queue(context_, QueueId{queue}, description);
    }
    EXPECT_EQ(done.error().code(), ErrorCode::kResourceExhausted);
    faults_.disarm();
    EXPECT_TRUE(reserve_exists());
    EXPECT_TRUE(append(1, "descriptors again"));
    EXPECT_FALSE(wal_->stats().read_only);
}

TEST_F(WalSpace, AReserveOfAnotherSizeIsMadeAnew) {
    open();
    EXPECT_TRUE(wal_->stats().has_reserve);
    ASSERT_TRUE(wal_->close(context_));
    auto file = *memory_.open("wal/reserve", OpenMode::kReadWrite);
    ASSERT_TRUE(file->truncate(100));
    open();
    EXPECT_TRUE(wal_->stats().has_reserve);
    EXPECT_EQ(*(*memory_.open("wal/reserve", OpenMode::kRead))->size(), kReserve);
    ASSERT_TRUE(wal_->close(context_));
    options_.reserve_bytes = 0;
    open();
    EXPECT_FALSE(reserve_exists()) << "no reserve is wanted";
}

TEST_F(WalSpace, TheNextSegmentIsNotTriedAtEveryCommitNearAFullDisk) {
    options_.segment_bytes = 1U << 16U;
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    faults_.arm({.verbs = {FsVerb::kAllocate},
                 .plan = {.times = FaultTimes::kForEver},
                 .code = ErrorCode::kResourceExhausted});
    const std::string text(1000, 'x');
    for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(append(1, text)) << "the segment in use has room";
    }
    EXPECT_EQ(faults_.fired(), 1U);
    clock_.advance(std::chrono::seconds(2));
    ASSERT_TRUE(append(1, text));
    EXPECT_EQ(faults_.fired(), 2U) << "tried again after a while";
}

TEST_F(WalSpace, TheQueueThatPinsTheOldestSegmentIsNamedWhenTheBudgetIsNearlyUsed) {
    options_.total_bytes_max = 8 * kSegment;
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{2}, {}));
    ASSERT_TRUE(append(2, std::string(2000, 'y')));
    EXPECT_FALSE(wal_->pinning_queue().has_value());
    const auto full = fill();
    EXPECT_NE(full.message().find("wal.total_mb"), std::string::npos);
    EXPECT_EQ(wal_->pinning_queue(), QueueId{2});
    ASSERT_TRUE(wal_->truncate(context_, QueueId{2}, Position{1}));
    EXPECT_TRUE(append(1, "room again"));
}

TEST_F(WalSpace, ASegmentThatWasInUseWhenItsLastRowWentIsNotInTheWay) {
    options_.total_bytes_max = 4 * kSegment;
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    ASSERT_TRUE(append(1, std::string(1000, 'x')));
    ASSERT_TRUE(wal_->truncate(context_, QueueId{1}, Position{1}));
    // Nothing is truncated from here on; the first segment holds nothing, nor does anything free
    // it.
    std::uint64_t rows = 0;
    while (append(1, std::string(2500, 'x'))) {
        ++rows;
    }
    EXPECT_EQ(rows, 4U) << "one for each segment of the budget";
}

TEST_F(WalSpace, AQueueThatCouldNotBeMadeDurableIsNotThere) {
    open();
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{1}, {}));
    faults_.arm({.verbs = {FsVerb::kWrite, FsVerb::kAllocate},
                 .plan = {.times = FaultTimes::kForEver},
                 .code = ErrorCode::kResourceExhausted});
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(wal_->create_queue(context_, QueueId{2}, {}));
        EXPECT_EQ(wal_->queues().size(), 1U);
        EXPECT_EQ(wal_->check_writable().error().code(), ErrorCode::kResourceExhausted);
    }
    faults_.disarm();
    clock_.advance(std::chrono::seconds(1));
    wal_->maintain();
    EXPECT_TRUE(wal_->check_writable()) << "went on by itself";
    ASSERT_TRUE(wal_->create_queue(context_, QueueId{3}, {}));
    open();
    ASSERT_EQ(wal_->queues().size(), 2U);
    EXPECT_EQ(wal_->queues()[1].queue, QueueId{3});
}

TEST(WalDescriptors, ALogOfManySegmentsKeepsFewFilesOpen) {
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(bench.append(1, 1, std::string(1500, 'x'), true));
    }
    EXPECT_GT(bench.wal().stats().segments, 90U);
    EXPECT_LE(disk.open_files(), 3U);
    bench.crash();
    ASSERT_TRUE(bench.open());
    EXPECT_EQ(bench.check(), "");
    EXPECT_LE(disk.open_files(), 3U);
}

}  // namespace
}  // namespace molesignal
