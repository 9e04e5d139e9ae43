// Bad sectors, changed bytes, records of no use: what is lost, what is said.
#include "tests/support/crash_fs.h"
#include "wal/wal_fixture.h"
#include "wal/wal_format.h"
#include "wal/wal_inspect.h"

namespace molesignal {
namespace {

/// Flips a bit of the record that holds `text`, wherever it is.
void damage(TestDisk& disk, std::string_view text) {
    const auto entries = *disk.list("wal");
    for (const auto& entry : entries) {
        std::uint64_t number = 0;
        if (!parse_segment_file_name(entry.name, number)) {
            continue;
        }
        const auto path = "wal/" + entry.name;
        auto bytes = *read_file(disk, path, 1U << 24U);
        const auto at = as_text(bytes).find(text);
        if (at != std::string_view::npos) {
            bytes[at] ^= std::byte{4};
            auto file = *disk.open(path, OpenMode::kReadWrite);
            ASSERT_TRUE(file->write_at(0, bytes));
            return;
        }
    }
    FAIL() << "no record holds " << text;
}

/// Where the record that holds `text` is.
std::pair<std::string, std::uint64_t> find(TestDisk& disk, std::string_view text) {
    const auto entries = *disk.list("wal");
    for (const auto& entry : entries) {
        const auto path = "wal/" + entry.name;
        if (std::uint64_t number = 0; parse_segment_file_name(entry.name, number)) {
            const auto at = as_text(*read_file(disk, path, 1U << 24U)).find(text);
            if (at != std::string_view::npos) {
                return {path, at};
            }
        }
    }
    return {};
}

class WalDamage : public ::testing::Test {
protected:
    QuietLog quiet_;
    TestDisk disk_;
    WalLedger ledger_;
    WalBench bench_{ledger_, disk_};
};

TEST_F(WalDamage, OfTheLastRecordIsSeenAfterACleanStop) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.append(1, 1, "first", true));
    ASSERT_TRUE(bench_.append(1, 1, "the last one", true));
    ASSERT_TRUE(bench_.close());
    damage(disk_, "the last one");
    ASSERT_TRUE(bench_.open());
    EXPECT_EQ(bench_.replayed.size(), 1U);
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 1U);
    EXPECT_EQ(bench_.wal().replay_stats().findings.size(), 1U);
    EXPECT_EQ(bench_.wal().replay_stats().quarantined_segments.size(), 1U);
}

TEST_F(WalDamage, OfTheLastRecordIsSeenOnceTheLogWasIdle) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.append(1, 1, "the last one", true));
    bench_.wal().maintain();
    const auto busy = bench_.wal().stats().next_lsn;
    bench_.clock().advance(std::chrono::seconds(2));
    bench_.wal().maintain();
    const auto noted = bench_.wal().stats();
    EXPECT_EQ(noted.next_lsn.value, busy.value + 1) << "one mark, when idle";
    bench_.clock().advance(std::chrono::seconds(2));
    bench_.wal().maintain();
    EXPECT_EQ(bench_.wal().stats().next_lsn, noted.next_lsn) << "and no second one";
    bench_.crash();
    damage(disk_, "the last one");
    ASSERT_TRUE(bench_.open());
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 1U);
}

TEST_F(WalDamage, WholeRecordsBehindAHoleInTheTailAreCounted) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.append(1, 1, "hit", false));
    ASSERT_TRUE(bench_.append(1, 1, "behind it", true));
    bench_.crash();
    damage(disk_, "hit");
    ASSERT_TRUE(bench_.open());
    EXPECT_TRUE(bench_.replayed.empty());
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 0U);
    EXPECT_EQ(bench_.wal().replay_stats().suspect_records, 1U);
}

TEST_F(WalDamage, ABadSectorCostsOnlyTheRecordsInIt) {
    bench_.options.segment_bytes = 1U << 16U;
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    for (int i = 0; i < 40; ++i) {
        const auto text = fmt::format("row {:02} {}", i, std::string(1000, 'x'));
        ASSERT_TRUE(bench_.append(1, 1, text, true));
    }
    ASSERT_TRUE(bench_.close());
    const auto [path, offset] = find(disk_, "row 20");
    disk_.break_block(path, offset);
    ASSERT_TRUE(bench_.open()) << bench_.fault;
    const auto stats = bench_.wal().replay_stats();
    EXPECT_GE(stats.damaged_records, 4U);
    EXPECT_LE(stats.damaged_records, 6U);
    EXPECT_EQ(bench_.replayed.size(), 40 - stats.damaged_records);
    EXPECT_FALSE(bench_.replayed.contains({1, 20}));
    EXPECT_EQ(stats.quarantined_segments.size(), 1U);
    EXPECT_EQ(stats.findings.size(), 2U) << "the records, and the device";
    ASSERT_TRUE(bench_.close());
    ASSERT_TRUE(bench_.open()) << "the next start is a good one";
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 0U);
    EXPECT_EQ(bench_.wal().replay_stats().quarantined_before, 1U) << "not forgotten";
}

TEST_F(WalDamage, ADeviceThatReadsNothingIsNotTakenForBadSectors) {
    bench_.options.segment_bytes = 4U << 20U;
    bench_.options.total_bytes_max = 64U << 20U;
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(bench_.append(1, 1, std::string(1U << 20U, static_cast<char>('a' + i)), true));
    }
    ASSERT_TRUE(bench_.close());
    const auto path = find(disk_, "aaaa").first;
    for (std::uint64_t offset = 0; offset < bench_.options.segment_bytes; offset += 4096) {
        disk_.break_block(path, offset);
    }
    EXPECT_FALSE(bench_.open()) << "what the device holds may come back";
    EXPECT_TRUE(*disk_.exists(path));
}

TEST_F(WalDamage, ARecordThatTheReplayCannotUseIsSetAsideAndTheRestGoesOn) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.append(1, 1, "first", true));
    ASSERT_TRUE(bench_.append(1, 1, "of no use", true));
    ASSERT_TRUE(bench_.append(1, 1, "third", true));
    ASSERT_TRUE(bench_.close());
    bench_.useless = "of no use";
    ASSERT_TRUE(bench_.open()) << bench_.fault;
    EXPECT_EQ(bench_.replayed.size(), 2U);
    const auto stats = bench_.wal().replay_stats();
    EXPECT_EQ(stats.damaged_records, 1U);
    ASSERT_EQ(stats.quarantined_segments.size(), 1U);
    EXPECT_NE(
        as_text(*read_file(disk_, stats.quarantined_segments[0], 1U << 24U)).find("of no use"),
        std::string_view::npos)
        << "kept for whoever can read it";
    ASSERT_TRUE(bench_.close());
    bench_.useless.clear();
    ASSERT_TRUE(bench_.open());
    EXPECT_EQ(bench_.replayed.size(), 2U);
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 0U);
}

TEST_F(WalDamage, ARecordThatCannotBeRewrittenDoesNotPinTheLog) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.create(2));
    ASSERT_TRUE(bench_.append(1, 1, "slow", true));
    const std::string text(1500, 'x');
    ASSERT_TRUE(bench_.append(2, 1, text, true));
    ASSERT_TRUE(bench_.append(2, 1, text, true));
    damage(disk_, "slow");
    for (std::uint64_t i = 2; i < 20; ++i) {
        ASSERT_TRUE(bench_.append(2, 1, text, true));
        ASSERT_TRUE(bench_.truncate(2, i));
    }
    EXPECT_LE(bench_.wal().stats().segments, 4U);
    const auto stats = bench_.wal().replay_stats();
    EXPECT_EQ(stats.damaged_records, 1U);
    EXPECT_EQ(stats.quarantined_segments.size(), 1U);
}

TEST_F(WalDamage, OfAHeaderAloneIsAFindingToo) {
    ASSERT_TRUE(bench_.open());
    ASSERT_TRUE(bench_.create(1));
    ASSERT_TRUE(bench_.append(1, 1, "whole", true));
    ASSERT_TRUE(bench_.close());
    damage(disk_, "MSWALSEG");
    ASSERT_TRUE(bench_.open());
    EXPECT_EQ(bench_.check(), "");
    EXPECT_EQ(bench_.wal().replay_stats().damaged_records, 0U);
    ASSERT_EQ(bench_.wal().replay_stats().findings.size(), 1U);
    EXPECT_NE(bench_.wal().replay_stats().findings[0].find("header"), std::string::npos);
}

TEST(WalDirectory, IsDurableThoughAKilledProcessLeftItUnsynced) {
    CrashFs files;
    SystemClock clock;
    MetricRegistry metrics;
    const auto context = RequestContext::background(clock, "test");
    const WalOptions options{.segment_bytes = 4096, .total_bytes_max = 1U << 20U};
    ASSERT_TRUE(files.create_directories("data"));
    files.leave_directory_unsynced("data/wal");
    {
        const auto wal = *Wal::open(context, "data/wal", options, files, clock, metrics);
        ASSERT_TRUE(wal->create_queue(context, QueueId{1}, {}));
        const Bytes pieces[] = {as_bytes("acknowledged")};
        ASSERT_TRUE(wal->commit(context, *wal->append(QueueId{1}, Position{0}, 1, pieces)));
    }
    const auto after = files.clone_after_crash(1, CrashModel::kDropUnsynced);
    const auto wal = Wal::open(context, "data/wal", options, *after, clock, metrics);
    ASSERT_TRUE(wal) << wal.error().message();
    EXPECT_EQ((*wal)->replay_stats().rows, 1U);
}

TEST(WalDirectory, IsLockedForOneLog) {
    CrashFs files;
    SystemClock clock;
    MetricRegistry metrics;
    const auto context = RequestContext::background(clock, "test");
    const WalOptions options{.segment_bytes = 4096, .total_bytes_max = 1U << 20U};
    auto first = Wal::open(context, "wal", options, files, clock, metrics);
    ASSERT_TRUE(first);
    const auto second = Wal::open(context, "wal", options, files, clock, metrics);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
    EXPECT_NE(second.error().message().find("wal.dir"), std::string::npos);
    const auto id = (*first)->log_id();
    ASSERT_TRUE((*first)->close(context));
    const auto again = Wal::open(context, "wal", options, files, clock, metrics);
    ASSERT_TRUE(again);
    EXPECT_EQ((*again)->log_id(), id) << "a log keeps its name";
}

}  // namespace
}  // namespace molesignal
