#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "index/sidecar_reader.h"

namespace molesignal {

/// Bytes [begin, end) of an area.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

/// Reads pieces of the areas of one sidecar during one look-up: whole blocks, each checked by its
/// CRC and kept, so that several look-ups share reads. A block that the source has kept from an
/// earlier look-up is neither read nor checked nor copied. One thread at a time.
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
    /// A checked block.
    struct Piece {
        Bytes bytes;
        RangeReader::Block owner;  ///< Null: the sidecar's own tail.
    };
    struct Loaded {
        std::map<std::size_t, Piece> blocks;
        /// Ranges whose blocks do not lie one behind the other, put together.
        std::map<std::pair<std::uint64_t, std::uint64_t>, ByteBuffer> joined;
    };
    Result<> load(const SidecarArea& area, Loaded& loaded, std::size_t begin, std::size_t end);
    bool take_checked(const SidecarArea& area, Loaded& loaded, std::size_t block);
    static Bytes join(Loaded& loaded, ByteRange range);
    const SidecarReader& sidecar_;
    RangeReader& source_;
    SidecarReadStats& stats_;
    std::map<const SidecarArea*, Loaded> loaded_;
};

}  // namespace molesignal
