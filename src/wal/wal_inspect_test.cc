#include "wal/wal_inspect.h"

#include "wal/wal_disk_fixture.h"
#include "wal/wal_fixture.h"
#include "wal/wal_format.h"

namespace molesignal {
namespace {

/// A log with two queues, one of them truncated, on `disk`.
void write_log(TestDisk& disk, WalLedger& ledger) {
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    ASSERT_TRUE(bench.create(2));
    for (std::uint64_t i = 0; i < 6; ++i) {
        ASSERT_TRUE(bench.append(1, 2, std::string(1000, 'x'), true));
    }
    ASSERT_TRUE(bench.append(2, 5, "five rows", true));
    ASSERT_TRUE(bench.truncate(1, 4));
    ASSERT_TRUE(bench.close());
}

TEST(WalInspect, SumsUpWhatAReplayWouldFindAndChangesNothing) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    write_log(disk, ledger);
    SystemClock clock;
    const auto context = RequestContext::background(clock, "test");
    const auto before = *disk.list("wal");
    const auto log = inspect_wal(context, disk, "wal");
    ASSERT_TRUE(log) << log.error().message();
    EXPECT_TRUE(log->damage.empty());
    EXPECT_EQ(log->replay.batches, 5U);
    EXPECT_EQ(log->replay.rows, 13U);
    EXPECT_EQ(log->records.queues_created, 2U);
    EXPECT_EQ(log->records.truncates, 1U);
    EXPECT_GE(log->records.batches, 7U);
    ASSERT_EQ(log->queues.size(), 2U);
    EXPECT_EQ(log->queues[0].truncated, Position{4});
    EXPECT_EQ(log->queues[0].next, Position{12});
    EXPECT_EQ(log->queues[0].batches, 4U);
    EXPECT_EQ(log->queues[1].rows, 5U);
    std::uint64_t live = 0;
    for (const auto& segment : log->segments) {
        EXPECT_TRUE(segment.header_valid || segment.never_written);
        live += segment.live_bytes;
    }
    EXPECT_EQ(live, 4 * record_bytes(1000) + record_bytes(9));
    const auto after = *disk.list("wal");
    ASSERT_EQ(after.size(), before.size());
    for (std::size_t i = 0; i < after.size(); ++i) {
        EXPECT_EQ(after[i].name, before[i].name);
        EXPECT_EQ(after[i].size, before[i].size);
    }
}

TEST(WalInspect, NamesDamageAndWhatIsInQuarantine) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    write_log(disk, ledger);
    SystemClock clock;
    const auto context = RequestContext::background(clock, "test");
    EXPECT_TRUE(verify_wal(context, disk, "wal")->empty());
    const auto log = inspect_wal(context, disk, "wal");
    auto file = *disk.open(log->segments.front().path, OpenMode::kReadWrite);
    const ByteBuffer noise(100, std::byte{0x55});
    ASSERT_TRUE(file->write_at(kSegmentHeaderBytes + 200, noise));
    const auto damaged = inspect_wal(context, disk, "wal");
    ASSERT_TRUE(damaged);
    EXPECT_FALSE(damaged->damage.empty());
    EXPECT_GT(damaged->replay.damaged_records, 0U);
    EXPECT_TRUE(damaged->segments.front().damaged);
    {
        WalLedger nothing;
        WalBench bench(nothing, disk);
        ASSERT_TRUE(bench.open());
        ASSERT_TRUE(bench.close());
    }
    const auto set_aside = verify_wal(context, disk, "wal");
    ASSERT_TRUE(set_aside);
    ASSERT_EQ(set_aside->size(), 1U);
    EXPECT_NE(set_aside->front().find("quarantine"), std::string::npos);
}

TEST(WalInspect, AMissingDirectoryIsNotFound) {
    TestDisk disk;
    SystemClock clock;
    const auto context = RequestContext::background(clock, "test");
    EXPECT_EQ(verify_wal(context, disk, "nowhere").error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(inspect_wal(context, disk, "nowhere").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace molesignal
