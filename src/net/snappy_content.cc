#include "net/snappy_content.h"

#include <bit>

#include <fmt/format.h>
#include <snappy.h>

#include "common/crc32c.h"

namespace molesignal {
namespace {

// The framing format: chunks of a type byte, a three-byte length and the content.
constexpr std::string_view kStreamIdentifier("\xff\x06\x00\x00sNaPpY", 10);
constexpr std::size_t kChunkHeaderBytes = 4;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::uint64_t kChunkContentBytesMax = 64 << 10;
constexpr unsigned kCompressed = 0x00;
constexpr unsigned kUncompressed = 0x01;
constexpr unsigned kReservedSkippable = 0x80;  // 0x80 to 0xfd; 0xfe is padding.
constexpr unsigned kIdentifier = 0xff;
constexpr std::uint32_t kMaskDelta = 0xa282ead8U;

Error malformed(std::string_view what) {
    return {ErrorCode::kInvalidArgument, fmt::format("malformed snappy content: {}", what)};
}

struct Chunk {
    unsigned type = 0;
    Bytes content;           ///< Without the checksum.
    std::uint32_t checksum;  ///< Of the two kinds that carry data.
    bool has_data() const { return type == kCompressed || type == kUncompressed; }
};

/// Takes a chunk off the front of `in`.
Result<Chunk> take_chunk(Bytes& in) {
    if (in.size() < kChunkHeaderBytes) {
        return malformed("it ends inside a chunk's header");
    }
    Chunk chunk{};
    chunk.type = std::to_integer<unsigned>(in[0]);
    const std::size_t length = load_le<std::uint32_t>(in, 0) >> 8U;
    if (in.size() - kChunkHeaderBytes < length) {
        return malformed("it ends inside a chunk");
    }
    chunk.content = in.subspan(kChunkHeaderBytes, length);
    in = in.subspan(kChunkHeaderBytes + length);
    if (chunk.has_data()) {
        if (length < kChecksumBytes) {
            return malformed("a chunk has no checksum");
        }
        chunk.checksum = load_le<std::uint32_t>(chunk.content, 0);
        chunk.content = chunk.content.subspan(kChecksumBytes);
    } else if (chunk.type < kReservedSkippable) {
        return malformed(fmt::format("a chunk of the unknown type {}", chunk.type));
    } else if (chunk.type == kIdentifier && as_text(chunk.content) != "sNaPpY") {
        return malformed("a wrong stream identifier");
    }
    return chunk;
}

Result<std::uint64_t> raw_size(Bytes block) {
    std::size_t size = 0;
    const auto text = as_text(block);
    if (!snappy::GetUncompressedLength(text.data(), text.size(), &size)) {
        return malformed("it does not begin with a length");
    }
    return size;
}

Result<std::uint64_t> chunk_size(const Chunk& chunk) {
    std::uint64_t size = 0;
    if (chunk.type == kUncompressed) {
        size = chunk.content.size();
    } else if (chunk.type == kCompressed) {
        MS_TRY(size, raw_size(chunk.content));
    }
    if (size > kChunkContentBytesMax) {
        return malformed(fmt::format("a chunk holds more than {} bytes", kChunkContentBytesMax));
    }
    return size;
}

Result<> decode_block(Bytes block, std::string& out) {
    MS_TRY(const auto size, raw_size(block));
    const auto text = as_text(block);
    const auto before = out.size();
    out.resize(before + size);
    if (!snappy::RawUncompress(text.data(), text.size(), out.data() + before)) {
        out.resize(before);
        return malformed("a broken block");
    }
    return {};
}

bool is_framed(Bytes content) {
    return as_text(content).starts_with(kStreamIdentifier);
}

}  // namespace

Result<std::uint64_t> snappy_declared_size(Bytes content) {
    if (!is_framed(content)) {
        return raw_size(content);
    }
    std::uint64_t total = 0;
    while (!content.empty()) {
        MS_TRY(const auto chunk, take_chunk(content));
        MS_TRY(const auto size, chunk_size(chunk));
        total += size;
    }
    return total;
}

Result<> decode_snappy(Bytes content, std::string& out) {
    if (!is_framed(content)) {
        return decode_block(content, out);
    }
    while (!content.empty()) {
        MS_TRY(const auto chunk, take_chunk(content));
        if (!chunk.has_data()) {
            continue;
        }
        MS_TRY_VOID(chunk_size(chunk));
        const auto before = out.size();
        if (chunk.type == kUncompressed) {
            out.append(as_text(chunk.content));
        } else {
            MS_TRY_VOID(decode_block(chunk.content, out));
        }
        const auto crc = crc32c(as_bytes(std::string_view(out).substr(before)));
        if (std::rotr(crc, 15) + kMaskDelta != chunk.checksum) {
            return malformed("a chunk's checksum is wrong");
        }
    }
    return {};
}

}  // namespace molesignal
