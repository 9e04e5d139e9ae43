// What a replay accepts: cases that the random tests meet rarely.
#include "common/crc32c.h"
#include "wal/wal_disk_fixture.h"
#include "wal/wal_fixture.h"
#include "wal/wal_format.h"

namespace molesignal {
namespace {

/// The only segment with records, and its bytes.
ByteBuffer segment_of(TestDisk& disk, std::string& path) {
    const auto entries = *disk.list("wal");
    for (const auto& entry : entries) {
        std::uint64_t number = 0;
        if (parse_segment_file_name(entry.name, number)) {
            path = "wal/" + entry.name;
            return *read_file(disk, path, 1U << 24U);
        }
    }
    return {};
}

TEST(WalReplay, AQueueMadeAgainAfterItsDeletionLives) {
    TestDisk disk;
    WalLedger first;
    WalLedger second;
    {
        WalBench bench(first, disk);
        ASSERT_TRUE(bench.open());
        ASSERT_TRUE(bench.create(1));
        ASSERT_TRUE(bench.append(1, 1, "of the first", true));
        ASSERT_TRUE(bench.append(1, 1, "of the first, too", true));
        ASSERT_TRUE(bench.remove(1));
        ASSERT_TRUE(bench.create(1));
        const Bytes pieces[] = {as_bytes("of the second")};
        const auto lsn = bench.wal().append(QueueId{1}, Position{0}, 1, pieces);
        ASSERT_TRUE(lsn);
        ASSERT_TRUE(bench.wal().commit(bench.context(), *lsn));
    }
    WalBench bench(second, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_EQ(bench.replayed.size(), 1U);
    EXPECT_EQ(bench.replayed.at({1, 0}).text, "of the second");
    EXPECT_EQ(bench.wal().queues().at(0).next, Position{1});
}

TEST(WalReplay, ASegmentOfALaterFormatIsLeftAlone) {
    TestDisk disk;
    WalLedger ledger;
    {
        WalBench bench(ledger, disk);
        ASSERT_TRUE(bench.open());
        ASSERT_TRUE(bench.create(1));
    }
    std::string path;
    auto bytes = segment_of(disk, path);
    store_le(MutableBytes(bytes), 8, kWalFormatVersion + 1);
    store_le(MutableBytes(bytes), 12, std::uint32_t{0});
    store_le(MutableBytes(bytes), 12, crc32c(Bytes(bytes).first(kSegmentHeaderBytes)));
    auto file = *disk.open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file->write_at(0, bytes));
    WalBench bench(ledger, disk);
    EXPECT_FALSE(bench.open());
    EXPECT_NE(bench.fault.find("segment format 2"), std::string::npos) << bench.fault;
    EXPECT_EQ(*read_file(disk, path, 1U << 24U), bytes);
}

TEST(WalReplay, BytesOfAClientThatLookLikeARecordAreNotTakenForOne) {
    const QuietLog quiet;
    TestDisk disk;
    WalLedger ledger;
    WalBench bench(ledger, disk);
    ASSERT_TRUE(bench.open());
    ASSERT_TRUE(bench.create(1));
    // A client that guesses epochs and LSNs puts records for another queue into
    // its payload.
    const auto text = as_bytes("forged row");
    const auto next = bench.wal().stats().next_lsn;
    for (std::uint64_t epoch = 1; epoch < 5; ++epoch) {
        ByteBuffer forged(kRecordHeaderBytes);
        encode_record_header({.payload_bytes = static_cast<std::uint32_t>(text.size()),
                              .epoch = epoch,
                              .lsn = Lsn{next.value + epoch - 1},
                              .queue = QueueId{99},
                              .rows = 1,
                              .payload_crc = crc32c(text)},
                             forged);
        append_bytes(forged, text);
        forged.resize(record_bytes(text.size()));
        // Two halves: the payload begins at a multiple of 8.
        ASSERT_TRUE(bench.append(1, 1, std::string(as_text(forged)), true));
    }
    bench.crash();
    std::string path;
    auto bytes = segment_of(disk, path);
    for (std::size_t at = kSegmentHeaderBytes; at < bytes.size(); at += kRecordAlignment) {
        const auto header = decode_record_header(Bytes(bytes).subspan(at));
        if (header && header->kind == WalRecordKind::kBatch && header->queue == QueueId{1}) {
            bytes[at] ^= std::byte{1};
        }
        if (bytes.size() - at < 2 * kRecordHeaderBytes) {
            break;
        }
    }
    auto file = *disk.open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file->write_at(0, bytes));
    ASSERT_TRUE(bench.open()) << bench.fault;
    EXPECT_TRUE(bench.replayed.empty());
}

}  // namespace
}  // namespace molesignal
