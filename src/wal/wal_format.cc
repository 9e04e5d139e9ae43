#include "wal/wal_format.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "common/crc32c.h"

namespace molesignal {
namespace {

constexpr std::string_view kSuffix = ".wal";
constexpr std::size_t kDigits = 16;
constexpr std::size_t kCheckpointEntryBytes = 28;

bool all_zero(Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Result<WalRecordKind> decode_kind(std::uint8_t raw) {
    switch (raw) {
        case 1:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
            return static_cast<WalRecordKind>(raw);
        default:
            return Error(ErrorCode::kCorruption, fmt::format("unknown record kind: {}", raw));
    }
}

}  // namespace

void encode_segment_header(const WalSegmentHeader& header, MutableBytes out) {
    MS_ASSERT(out.size() == kSegmentHeaderBytes);
    store_le(out, 0, kSegmentMagic);
    store_le(out, 8, kWalFormatVersion);
    store_le(out, 12, std::uint32_t{0});
    store_le(out, 16, header.log_id);
    store_le(out, 24, header.number);
    store_le(out, 32, header.first_lsn.value);
    store_le(out, 40, header.epoch);
    store_le(out, 48, header.accepted_lsn.value);
    store_le(out, 56, header.run_first_lsn.value);
    store_le(out, 12, crc32c(out));
}

Result<WalSegmentHeader> decode_segment_header(Bytes in) {
    if (in.size() < kSegmentHeaderBytes) {
        return Error(ErrorCode::kCorruption, fmt::format("segment header: {} bytes", in.size()));
    }
    in = in.first(kSegmentHeaderBytes);
    if (all_zero(in)) {
        return Error(ErrorCode::kNotFound, "segment header: never written");
    }
    if (load_le<std::uint64_t>(in, 0) != kSegmentMagic) {
        return Error(ErrorCode::kCorruption, "segment header: wrong magic");
    }
    ByteBuffer copy(in.begin(), in.end());
    store_le(MutableBytes(copy), 12, std::uint32_t{0});
    if (crc32c(copy) != load_le<std::uint32_t>(in, 12)) {
        return Error(ErrorCode::kCorruption, "segment header: wrong checksum");
    }
    if (const auto version = load_le<std::uint32_t>(in, 8); version != kWalFormatVersion) {
        return Error(
            ErrorCode::kConflict,
            fmt::format("segment format {}, this program reads {}", version, kWalFormatVersion));
    }
    return WalSegmentHeader{.log_id = load_le<std::uint64_t>(in, 16),
                            .number = load_le<std::uint64_t>(in, 24),
                            .first_lsn = Lsn{load_le<std::uint64_t>(in, 32)},
                            .epoch = load_le<std::uint64_t>(in, 40),
                            .accepted_lsn = Lsn{load_le<std::uint64_t>(in, 48)},
                            .run_first_lsn = Lsn{load_le<std::uint64_t>(in, 56)}};
}

void encode_record_header(const WalRecordHeader& header, MutableBytes out) {
    MS_ASSERT(out.size() == kRecordHeaderBytes);
    store_le(out, 0, kRecordMagic);
    store_le(out, 8, static_cast<std::uint8_t>(kWalFormatVersion));
    store_le(out, 9, static_cast<std::uint8_t>(header.kind));
    store_le(out, 10, std::uint16_t{0});
    store_le(out, 12, header.payload_bytes);
    store_le(out, 16, header.epoch);
    store_le(out, 24, header.lsn.value);
    store_le(out, 32, header.durable_lsn.value);
    store_le(out, 40, header.queue.value);
    store_le(out, 48, header.position.value);
    store_le(out, 56, header.rows);
    store_le(out, 60, header.payload_crc);
    store_le(out, 4, crc32c(Bytes(out).subspan(8)));
}

Result<WalRecordHeader> decode_record_header(Bytes in) {
    if (in.size() < kRecordHeaderBytes) {
        return Error(ErrorCode::kCorruption, fmt::format("record header: {} bytes", in.size()));
    }
    in = in.first(kRecordHeaderBytes);
    if (load_le<std::uint32_t>(in, 0) != kRecordMagic) {
        return Error(ErrorCode::kCorruption, "record header: wrong magic");
    }
    if (load_le<std::uint32_t>(in, 4) != crc32c(in.subspan(8))) {
        return Error(ErrorCode::kCorruption, "record header: wrong checksum");
    }
    if (load_le<std::uint8_t>(in, 8) != kWalFormatVersion || load_le<std::uint16_t>(in, 10) != 0) {
        return Error(ErrorCode::kCorruption, "record header: unknown version or flags");
    }
    MS_TRY(const auto kind, decode_kind(load_le<std::uint8_t>(in, 9)));
    return WalRecordHeader{.kind = kind,
                           .payload_bytes = load_le<std::uint32_t>(in, 12),
                           .epoch = load_le<std::uint64_t>(in, 16),
                           .lsn = Lsn{load_le<std::uint64_t>(in, 24)},
                           .durable_lsn = Lsn{load_le<std::uint64_t>(in, 32)},
                           .queue = QueueId{load_le<std::uint64_t>(in, 40)},
                           .position = Position{load_le<std::uint64_t>(in, 48)},
                           .rows = load_le<std::uint32_t>(in, 56),
                           .payload_crc = load_le<std::uint32_t>(in, 60)};
}

ByteBuffer encode_checkpoint(const std::vector<WalCheckpointQueue>& queues) {
    ByteBuffer out;
    append_le(out, static_cast<std::uint32_t>(queues.size()));
    for (const auto& queue : queues) {
        append_le(out, queue.queue.value);
        append_le(out, queue.truncated.value);
        append_le(out, queue.next.value);
        append_le(out, static_cast<std::uint32_t>(queue.description.size()));
        append_bytes(out, queue.description);
    }
    return out;
}

Result<std::vector<WalCheckpointQueue>> decode_checkpoint(Bytes in) {
    const auto broken = [] {
        return Error(ErrorCode::kCorruption, "checkpoint record: wrong length");
    };
    if (in.size() < 4) {
        return broken();
    }
    const auto count = load_le<std::uint32_t>(in, 0);
    in = in.subspan(4);
    if (count > in.size() / kCheckpointEntryBytes) {
        return broken();
    }
    std::vector<WalCheckpointQueue> queues;
    queues.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (in.size() < kCheckpointEntryBytes) {
            return broken();
        }
        WalCheckpointQueue queue{.queue = QueueId{load_le<std::uint64_t>(in, 0)},
                                 .truncated = Position{load_le<std::uint64_t>(in, 8)},
                                 .next = Position{load_le<std::uint64_t>(in, 16)},
                                 .description = {}};
        const auto size = load_le<std::uint32_t>(in, 24);
        in = in.subspan(kCheckpointEntryBytes);
        if (in.size() < size) {
            return broken();
        }
        queue.description.assign(in.begin(), in.begin() + size);
        in = in.subspan(size);
        queues.push_back(std::move(queue));
    }
    if (!in.empty()) {
        return broken();
    }
    return queues;
}

std::string segment_file_name(std::uint64_t number) {
    return fmt::format("{:016x}{}", number, kSuffix);
}

bool parse_segment_file_name(const std::string& name, std::uint64_t& number) {
    if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) {
        return false;
    }
    const auto* end = name.data() + kDigits;
    const auto parsed = std::from_chars(name.data(), end, number, 16);
    return parsed.ec == std::errc{} && parsed.ptr == end && segment_file_name(number) == name;
}

}  // namespace molesignal
