#pragma once

#include <cstdint>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"
#include "storage/cache/object_name.h"

namespace molesignal {

/// The files of the disk cache: docs/formats/disk_cache.md.
inline constexpr std::string_view kDiskBlockMagic = "MSBLOCK\n";
inline constexpr std::uint32_t kDiskBlockVersion = 1;
/// Before the key: magic, version, block_bytes, block, object_bytes, object_xxh3, key_bytes, crc.
inline constexpr std::size_t kDiskBlockHeaderBytes = 48;

/// Which block of which object.
struct DiskBlockName {
    const ObjectName* object = nullptr;
    std::uint32_t block_bytes = 0;
    std::uint64_t block = 0;

    /// Of the block's content: less than block_bytes at the object's end.
    std::uint64_t content_bytes() const;
    std::uint64_t file_bytes() const {
        return kDiskBlockHeaderBytes + object->key.size() + content_bytes();
    }
};

/// The file of a block.
ByteBuffer encode_disk_block(const DiskBlockName& name, Bytes content);

/// The content in a file, which must be the block of that name, whole and undamaged; else
/// kCorruption.
Result<Bytes> decode_disk_block(const DiskBlockName& name, Bytes file);

}  // namespace molesignal
