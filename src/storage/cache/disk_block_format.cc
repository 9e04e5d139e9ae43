#include "storage/cache/disk_block_format.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"

namespace molesignal {
namespace {

constexpr std::size_t kCrcOffset = kDiskBlockHeaderBytes - 4;

/// Everything before the checksum.
ByteBuffer header_of(const DiskBlockName& name) {
    ByteBuffer header;
    append_bytes(header, as_bytes(kDiskBlockMagic));
    append_le(header, kDiskBlockVersion);
    append_le(header, name.block_bytes);
    append_le(header, name.block);
    append_le(header, name.object->bytes);
    append_le(header, name.object->xxh3);
    append_le(header, static_cast<std::uint32_t>(name.object->key.size()));
    MS_ASSERT(header.size() == kCrcOffset);
    return header;
}

std::uint32_t checksum(Bytes header, Bytes rest) {
    return crc32c(rest, crc32c(header));
}

}  // namespace

std::uint64_t DiskBlockName::content_bytes() const {
    const auto begin = std::min(object->bytes, block * block_bytes);
    return std::min<std::uint64_t>(block_bytes, object->bytes - begin);
}

ByteBuffer encode_disk_block(const DiskBlockName& name, Bytes content) {
    MS_ASSERT(content.size() == name.content_bytes());
    auto file = header_of(name);
    file.reserve(name.file_bytes());
    append_le(file, std::uint32_t{0});
    append_bytes(file, as_bytes(name.object->key));
    append_bytes(file, content);
    store_le(file,
             kCrcOffset,
             checksum(Bytes(file).first(kCrcOffset), Bytes(file).subspan(kDiskBlockHeaderBytes)));
    return file;
}

Result<Bytes> decode_disk_block(const DiskBlockName& name, Bytes file) {
    if (file.size() != name.file_bytes()) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("{} bytes, not {}", file.size(), name.file_bytes()));
    }
    const auto rest = file.subspan(kDiskBlockHeaderBytes);
    const auto key_bytes = name.object->key.size();
    // The name is what the file must begin with, so there is nothing to parse.
    if (!std::ranges::equal(file.first(kCrcOffset), header_of(name)) ||
        as_text(rest.first(key_bytes)) != name.object->key) {
        return Error(ErrorCode::kCorruption, "it is of another block, object or version");
    }
    if (load_le<std::uint32_t>(file, kCrcOffset) != checksum(file.first(kCrcOffset), rest)) {
        return Error(ErrorCode::kCorruption, "its checksum is wrong");
    }
    return rest.subspan(key_bytes);
}

}  // namespace molesignal
