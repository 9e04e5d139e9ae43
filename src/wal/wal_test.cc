#include "wal/wal.h"

#include <map>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/failpoint.h"
#include "common/random.h"
#include "io/memory_fs.h"
#include "wal/wal_format.h"

namespace molesignal {
namespace {

struct Fixture {
    MemoryFs fs;
    SystemClock clock;
    MetricRegistry metrics;
    WalOptions options{.segment_bytes = 4096, .total_bytes_max = 1U << 20U, .reserve_bytes = 4096};
    RequestContext context = RequestContext::background(clock, "test");
    /// queue/position -> payload
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> replayed;

    std::unique_ptr<Wal> open() {
        replayed.clear();
        auto opened = Wal::open(context, "wal", options, fs, clock, metrics);
        EXPECT_TRUE(opened) << opened.error().message();
        if (!opened) {
            return nullptr;
        }
        EXPECT_TRUE((*opened)->replay(context, [this](const WalBatch& batch) -> Result<> {
            const auto key = std::pair(batch.queue.value, batch.begin.value);
            EXPECT_FALSE(replayed.contains(key)) << "delivered twice";
            replayed[key] = std::string(as_text(batch.payload));
            return {};
        }));
        return std::move(*opened);
    }
    Lsn append(Wal& wal,
               std::uint64_t queue,
               std::uint64_t begin,
               std::uint32_t rows,
               std::string_view text) {
        const Bytes pieces[] = {as_bytes(text)};
        const auto lsn = wal.append(QueueId{queue}, Position{begin}, rows, pieces);
        EXPECT_TRUE(lsn) << lsn.error().message();
        return lsn.value_or(Lsn{});
    }
};

TEST(Wal, ReplaysWhatWasCommitted) {
    Fixture test;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{7}, as_bytes("seven")));
    test.append(*wal, 7, 0, 2, "first");
    const auto lsn = test.append(*wal, 7, 2, 1, "second");
    ASSERT_TRUE(wal->commit(test.context, lsn));
    EXPECT_GE(wal->durable_lsn(), lsn);
    wal.reset();  // A crash: no close.
    wal = test.open();
    const std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> expected = {
        {{7, 0}, "first"}, {{7, 2}, "second"}};
    EXPECT_EQ(test.replayed, expected);
    ASSERT_EQ(wal->queues().size(), 1U);
    EXPECT_EQ(as_text(wal->queues()[0].description), "seven");
    EXPECT_EQ(wal->queues()[0].next, Position{3});
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, PositionsMustFollowEachOther) {
    Fixture test;
    auto wal = test.open();
    EXPECT_EQ(wal->replay_stats().damaged_records, 0U);
    const Bytes pieces[] = {as_bytes("x")};
    EXPECT_EQ(wal->append(QueueId{1}, Position{0}, 1, pieces).error().code(), ErrorCode::kNotFound);
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, {}));
    EXPECT_EQ(wal->create_queue(test.context, QueueId{1}, {}).error().code(), ErrorCode::kConflict);
    EXPECT_EQ(wal->append(QueueId{1}, Position{5}, 1, pieces).error().code(), ErrorCode::kInternal);
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, TruncatedRowsAreNotReplayedAndSegmentsGo) {
    Fixture test;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, as_bytes("d")));
    const std::string text(900, 'x');
    for (std::uint64_t i = 0; i < 50; ++i) {
        ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, i, 1, text)));
    }
    EXPECT_GT(wal->stats().segments, 10U);
    ASSERT_TRUE(wal->truncate(test.context, QueueId{1}, Position{48}));
    EXPECT_LE(wal->stats().segments, 3U);
    ASSERT_TRUE(wal->close(test.context));
    wal = test.open();
    EXPECT_EQ(test.replayed.size(), 2U);
    EXPECT_EQ(as_text(wal->queues().at(0).description), "d");
    ASSERT_TRUE(wal->delete_queue(test.context, QueueId{1}));
    ASSERT_TRUE(wal->close(test.context));
    wal = test.open();
    EXPECT_TRUE(test.replayed.empty());
    EXPECT_TRUE(wal->queues().empty());
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, AnIdleQueueDoesNotPinTheLog) {
    Fixture test;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, as_bytes("idle")));
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{2}, as_bytes("busy")));
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 0, 3, "keep me")));
    const std::string text(1500, 'x');
    for (std::uint64_t i = 0; i < 2000; ++i) {
        ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 2, i, 1, text)));
        ASSERT_TRUE(wal->truncate(test.context, QueueId{2}, Position{i + 1}));
    }
    EXPECT_LE(wal->stats().segments, 5U);
    ASSERT_TRUE(wal->close(test.context));
    wal = test.open();
    EXPECT_EQ(test.replayed.size(), 1U);
    EXPECT_EQ((test.replayed.at({1, 0})), "keep me");
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, TheBudgetRefusesRowsAndNamesItself) {
    Fixture test;
    test.options.total_bytes_max = 5 * 4096;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, {}));
    const std::string text(1000, 'x');
    const Bytes pieces[] = {as_bytes(text)};
    std::uint64_t position = 0;
    while (true) {
        const auto lsn = wal->append(QueueId{1}, Position{position}, 1, pieces);
        if (!lsn) {
            EXPECT_EQ(lsn.error().code(), ErrorCode::kResourceExhausted);
            EXPECT_NE(lsn.error().message().find("wal.total_mb"), std::string::npos);
            break;
        }
        ASSERT_TRUE(wal->commit(test.context, *lsn));
        ASSERT_LT(++position, 100U);
    }
    ASSERT_TRUE(wal->truncate(test.context, QueueId{1}, Position{position}));
    EXPECT_TRUE(wal->append(QueueId{1}, Position{position}, 1, pieces));
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, ARecordLargerThanASegmentGetsItsOwn) {
    Fixture test;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, {}));
    const std::string large(20'000, 'y');
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 0, 1, large)));
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 1, 1, "small")));
    wal.reset();
    wal = test.open();
    EXPECT_EQ((test.replayed.at({1, 0})), large);
    EXPECT_EQ((test.replayed.at({1, 1})), "small");
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, ManyWritersShareSyncs) {
    for (const auto strategy :
         {WalFlushStrategy::kBatch, WalFlushStrategy::kEveryWrite, WalFlushStrategy::kNone}) {
        Fixture test;
        test.options.flush_strategy = strategy;
        test.options.segment_bytes = 1U << 16U;
        test.options.total_bytes_max = 1U << 24U;
        auto wal = test.open();
        std::vector<std::thread> writers;
        for (std::uint64_t queue = 1; queue <= 8; ++queue) {
            ASSERT_TRUE(wal->create_queue(test.context, QueueId{queue}, {}));
        }
        for (std::uint64_t queue = 1; queue <= 8; ++queue) {
            writers.emplace_back([&, queue] {
                for (std::uint64_t i = 0; i < 200; ++i) {
                    const auto lsn = test.append(*wal, queue, i, 1, fmt::format("{}/{}", queue, i));
                    ASSERT_TRUE(wal->commit(test.context, lsn));
                    ASSERT_GE(wal->durable_lsn(), lsn);
                }
            });
        }
        for (auto& writer : writers) {
            writer.join();
        }
        wal.reset();
        wal = test.open();
        EXPECT_EQ(test.replayed.size(), 1600U);
        for (const auto& [key, text] : test.replayed) {
            EXPECT_EQ(text, fmt::format("{}/{}", key.first, key.second));
        }
        EXPECT_TRUE(wal->close(test.context));
    }
}

/// The bytes of the only segment with records.
ByteBuffer segment_of(Fixture& test, std::string& path) {
    const auto entries = test.fs.list("wal");
    for (const auto& entry : *entries) {
        std::uint64_t number = 0;
        if (parse_segment_file_name(entry.name, number)) {
            path = "wal/" + entry.name;
            return *read_file(test.fs, path, 1U << 24U);
        }
    }
    return {};
}

TEST(Wal, WhoCommitsDoesNotWaitForTheNextSegment) {
    Fixture test;
    test.options.prepares_aside = true;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, {}));
    ASSERT_TRUE(arm_failpoints("wal_segment_allocated=pause"));
    // More than half of the segment: the next one is due, and hangs.
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 0, 1, std::string(3000, 'a'))));
    await_failpoint("wal_segment_allocated");
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 1, 1, "fits")));
    // Who needs the segment waits for it instead of making another one.
    std::thread other([&] {
        const auto lsn = test.append(*wal, 1, 2, 1, std::string(3000, 'b'));
        EXPECT_TRUE(wal->commit(test.context, lsn));
    });
    disarm_failpoints();
    other.join();
    EXPECT_EQ(wal->stats().segments, 2U);
    EXPECT_TRUE(wal->close(test.context));
    wal = test.open();
    EXPECT_EQ(test.replayed.size(), 3U);
    EXPECT_TRUE(wal->close(test.context));
}

TEST(Wal, EveryTruncationKeepsAPrefixAndNeverFails) {
    Fixture source;
    auto wal = source.open();
    ASSERT_TRUE(wal->create_queue(source.context, QueueId{1}, as_bytes("q")));
    for (std::uint64_t i = 0; i < 5; ++i) {
        source.append(*wal, 1, i, 1, fmt::format("row {}", i));
    }
    ASSERT_TRUE(wal->commit(source.context, Lsn{wal->stats().next_lsn.value - 1}));
    wal.reset();
    std::string path;
    const auto whole = segment_of(source, path);
    for (std::size_t size = 0; size < 1100; ++size) {
        Fixture test;
        ASSERT_TRUE(test.fs.create_directories("wal"));
        auto file = *test.fs.open(path, OpenMode::kCreateNew);
        ASSERT_TRUE(file->write_at(0, Bytes(whole).first(size)));
        auto again = test.open();
        ASSERT_NE(again, nullptr) << size;
        std::uint64_t next = 0;
        for (const auto& [key, text] : test.replayed) {
            ASSERT_EQ(key.second, next) << size;
            ASSERT_EQ(text, fmt::format("row {}", next++));
        }
        ASSERT_TRUE(again->close(test.context));
    }
}

TEST(Wal, EveryFlippedBitLosesOnlyWhatItHitsAndIsReported) {
    Fixture source;
    auto wal = source.open();
    ASSERT_TRUE(wal->create_queue(source.context, QueueId{1}, as_bytes("q")));
    for (std::uint64_t i = 0; i < 6; ++i) {
        // Each record knows that the ones before it are durable.
        ASSERT_TRUE(
            wal->commit(source.context, source.append(*wal, 1, i, 1, fmt::format("row {}", i))));
    }
    wal.reset();
    std::string path;
    const auto whole = segment_of(source, path);
    for (std::size_t bit = 0; bit < 1000 * 8; bit += 3) {
        Fixture test;
        ASSERT_TRUE(test.fs.create_directories("wal"));
        auto damaged = whole;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        auto file = *test.fs.open(path, OpenMode::kCreateNew);
        ASSERT_TRUE(file->write_at(0, damaged));
        auto again = test.open();
        ASSERT_NE(again, nullptr) << bit;
        for (const auto& [key, text] : test.replayed) {
            ASSERT_EQ(text, fmt::format("row {}", key.second)) << bit;
        }
        // Rows 0-4 are known to be durable: a missing one is damage, never silence.
        std::size_t lost = 0;
        for (std::uint64_t i = 0; i < 5; ++i) {
            lost += test.replayed.contains({1, i}) ? 0 : 1;
        }
        ASSERT_LE(lost, 1U) << bit;
        if (lost > 0) {
            ASSERT_GE(again->replay_stats().damaged_records, 1U) << bit;
            ASSERT_EQ(again->replay_stats().quarantined_segments.size(), 1U) << bit;
        }
        ASSERT_TRUE(again->close(test.context));
        const auto before = test.replayed;
        auto third = test.open();
        ASSERT_EQ(test.replayed, before) << bit;
        ASSERT_EQ(third->replay_stats().damaged_records, 0U) << bit;
        ASSERT_TRUE(third->close(test.context));
    }
}

TEST(Wal, ADiscardedTailStaysDiscarded) {
    Fixture test;
    auto wal = test.open();
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{1}, as_bytes("q")));
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 1, 0, 1, "acknowledged")));
    test.append(*wal, 1, 1, 1, "torn");
    const auto last = test.append(*wal, 1, 2, 1, "after the hole");
    ASSERT_TRUE(wal->commit(test.context, last));
    wal.reset();
    // The record in the middle did not reach the disk; nothing says that it ever was durable.
    std::string path;
    auto bytes = segment_of(test, path);
    const auto at = as_text(bytes).find("torn");
    bytes[at] = std::byte{0};
    auto file = *test.fs.open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file->write_at(0, bytes));
    wal = test.open();
    EXPECT_EQ(test.replayed.size(), 1U);
    EXPECT_EQ(wal->replay_stats().damaged_records, 0U);
    EXPECT_GT(wal->replay_stats().torn_bytes, 0U);
    ASSERT_TRUE(wal->create_queue(test.context, QueueId{2}, {}));
    ASSERT_TRUE(wal->commit(test.context, test.append(*wal, 2, 0, 1, "new run")));
    wal.reset();
    wal = test.open();
    EXPECT_EQ(test.replayed.size(), 2U);
    EXPECT_TRUE(test.replayed.contains({1, 0}));
    EXPECT_TRUE(test.replayed.contains({2, 0}));
    EXPECT_EQ(wal->replay_stats().damaged_records, 0U);
    EXPECT_TRUE(wal->close(test.context));
}

}  // namespace
}  // namespace molesignal
