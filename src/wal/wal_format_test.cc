#include "wal/wal_format.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/crc32c.h"
#include "io/posix_fs.h"

namespace molesignal {
namespace {

void add_record(ByteBuffer& segment, WalRecordHeader header, Bytes payload) {
    header.payload_bytes = static_cast<std::uint32_t>(payload.size());
    header.payload_crc = crc32c(payload);
    header.epoch = 1;
    const auto at = segment.size();
    segment.resize(at + kRecordHeaderBytes);
    encode_record_header(header, MutableBytes(segment).subspan(at, kRecordHeaderBytes));
    append_bytes(segment, payload);
    segment.resize(at + record_bytes(payload.size()));
}

/// The segment of the worked example in docs/formats/wal.md.
ByteBuffer worked_example() {
    ByteBuffer segment(kSegmentHeaderBytes);
    encode_segment_header({.log_id = 0x1122334455667788,
                           .number = 1,
                           .first_lsn = Lsn{1},
                           .epoch = 1,
                           .accepted_lsn = Lsn{0},
                           .run_first_lsn = Lsn{1}},
                          segment);
    add_record(segment, {.kind = WalRecordKind::kCheckpoint, .lsn = Lsn{1}}, encode_checkpoint({}));
    add_record(segment,
               {.kind = WalRecordKind::kQueueCreated, .lsn = Lsn{2}, .queue = QueueId{7}},
               as_bytes("orders"));
    add_record(segment,
               {.kind = WalRecordKind::kBatch,
                .lsn = Lsn{3},
                .durable_lsn = Lsn{2},
                .queue = QueueId{7},
                .position = Position{0},
                .rows = 2},
               as_bytes("two rows"));
    add_record(segment,
               {.kind = WalRecordKind::kTruncate,
                .lsn = Lsn{4},
                .durable_lsn = Lsn{3},
                .queue = QueueId{7},
                .position = Position{2}},
               {});
    return segment;
}

std::string hex_dump(Bytes bytes) {
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 16) {
        out += fmt::format("{:04x} ", at);
        for (std::size_t i = at; i < std::min(at + 16, bytes.size()); ++i) {
            out += fmt::format(" {:02x}", static_cast<unsigned>(bytes[i]));
        }
        out += "\n";
    }
    return out;
}

TEST(WalFormat, TheWorkedExampleOfThePageIsWhatTheProgramWrites) {
    const char* source = std::getenv("MS_SOURCE_DIR");
    PosixFs fs;
    const auto page = read_file(
        fs, join_path(source == nullptr ? "." : source, "docs/formats/wal.md"), 1U << 20U);
    ASSERT_TRUE(page) << page.error().message();
    const auto dump = hex_dump(worked_example());
    EXPECT_NE(as_text(*page).find("```text\n" + dump + "```\n"), std::string_view::npos)
        << "the page should have\n"
        << dump;
}

TEST(WalFormat, EveryFlippedBitOfAHeaderIsSeen) {
    const auto segment = worked_example();
    for (std::size_t bit = 0; bit < kSegmentHeaderBytes * 8; ++bit) {
        auto header = ByteBuffer(segment.begin(), segment.begin() + kSegmentHeaderBytes);
        ASSERT_TRUE(decode_segment_header(header));
        header[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_FALSE(decode_segment_header(header)) << bit;
        auto record = ByteBuffer(segment.begin() + kSegmentHeaderBytes,
                                 segment.begin() + kSegmentHeaderBytes + kRecordHeaderBytes);
        ASSERT_TRUE(decode_record_header(record));
        record[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_FALSE(decode_record_header(record)) << bit;
    }
}

TEST(WalFormat, AShortOrLongCheckpointIsCorruption) {
    const std::vector<WalCheckpointQueue> queues = {
        {.queue = QueueId{1}, .truncated = Position{2}, .next = Position{3}, .description = {}},
        {.queue = QueueId{4},
         .truncated = Position{5},
         .next = Position{6},
         .description = ByteBuffer(9, std::byte{7})}};
    auto bytes = encode_checkpoint(queues);
    ASSERT_TRUE(decode_checkpoint(bytes));
    EXPECT_EQ(*decode_checkpoint(bytes), queues);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_FALSE(decode_checkpoint(Bytes(bytes).first(size))) << size;
    }
    bytes.push_back(std::byte{0});
    EXPECT_EQ(decode_checkpoint(bytes).error().code(), ErrorCode::kCorruption);
}

TEST(WalFormat, OnlySegmentNamesAreSegments) {
    std::uint64_t number = 0;
    EXPECT_EQ(segment_file_name(42), "000000000000002a.wal");
    EXPECT_TRUE(parse_segment_file_name("000000000000002a.wal", number));
    EXPECT_EQ(number, 42U);
    for (const char* name : {"",
                             "reserve",
                             "2a.wal",
                             "000000000000002A.wal",
                             "000000000000002a.wal.tmp",
                             "-00000000000002a.wal"}) {
        EXPECT_FALSE(parse_segment_file_name(name, number)) << name;
    }
}

}  // namespace
}  // namespace molesignal
