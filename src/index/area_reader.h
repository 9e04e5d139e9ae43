#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "index/sidecar_reader.h"

namespace molesignal {

/// Bytes [begin, end) of an area.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

/// Reads pieces of the areas of one sidecar during one look-up: whole blocks, each checked by its
/// CRC and kept, so that several look-ups share reads. Memory is taken for the blocks that are read
/// only. One thread at a time.
class AreaReader {
public:
    /// All must outlive this.
    AreaReader(const SidecarReader& sidecar, RangeReader& source, SidecarReadStats& stats)
        : sidecar_(sidecar), source_(source), stats_(stats) {}

    /// Views bytes of `area` as long as this lives. kCorruption: they are not in the area, or a
    /// block's CRC is wrong.
    Result<Bytes> read(const SidecarArea& area, ByteRange range);
    Result<Bytes> read_all(const SidecarArea& area) { return read(area, {0, area.bytes}); }
    /// Loads several ranges, near ones in one read.
    Result<> fetch(const SidecarArea& area, std::span<const ByteRange> ranges);

private:
    struct Loaded {
        std::unique_ptr<std::byte[]>
            bytes;  ///< Of the whole area; pages that are not used cost nothing.
        std::vector<bool> blocks;
    };
    Result<> load(const SidecarArea& area, Loaded& loaded, std::size_t begin, std::size_t end);
    const SidecarReader& sidecar_;
    RangeReader& source_;
    SidecarReadStats& stats_;
    std::map<const SidecarArea*, Loaded> loaded_;
};

}  // namespace molesignal
