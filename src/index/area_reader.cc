#include "index/area_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"

namespace molesignal {
namespace {

/// Blocks between two that are wanted are read along if they are no more than this.
constexpr std::size_t kGapBlocks = 2;

std::uint64_t block_begin(std::size_t block) {
    return std::uint64_t{block} << kSidecarBlockBits;
}

}  // namespace

Result<> AreaReader::load(const SidecarArea& area,
                          Loaded& loaded,
                          std::size_t begin,
                          std::size_t end) {
    const auto first = block_begin(begin);
    const auto last = std::min(block_begin(end), area.bytes);
    const auto kept = sidecar_.kept(area.offset + first, area.offset + last);
    if (!kept.empty()) {
        std::ranges::copy(kept, loaded.bytes.get() + first);
    } else {
        ++stats_.reads;
        stats_.bytes += last - first;
        MS_TRY(const auto read, source_.read(area.offset + first, last - first));
        if (read.size() != last - first) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("index sidecar: {} of {} bytes at {} were read",
                                     read.size(),
                                     last - first,
                                     area.offset + first));
        }
        std::ranges::copy(read, loaded.bytes.get() + first);
    }
    for (auto block = begin; block < end; ++block) {
        const auto from = block_begin(block);
        const Bytes bytes(loaded.bytes.get() + from,
                          std::min(block_begin(block + 1), area.bytes) - from);
        if (crc32c(bytes) != area.block_crcs[block]) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("index sidecar: the block at {} has a wrong checksum",
                                     area.offset + from));
        }
        loaded.blocks[block] = true;
    }
    return {};
}

Result<> AreaReader::fetch(const SidecarArea& area, std::span<const ByteRange> ranges) {
    auto& loaded = loaded_[&area];
    if (loaded.bytes == nullptr) {
        loaded.bytes = std::make_unique_for_overwrite<std::byte[]>(area.bytes);
        loaded.blocks.resize(area.block_crcs.size());
    }
    std::vector<std::size_t> wanted;
    for (const auto& range : ranges) {
        if (range.begin > range.end || range.end > area.bytes) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("index sidecar: {} to {} are not in an area of {} bytes",
                                     range.begin,
                                     range.end,
                                     area.bytes));
        }
        const auto end = block_begin(1) - 1 + range.end;
        for (auto block = range.begin >> kSidecarBlockBits;
             range.begin < range.end && block < end >> kSidecarBlockBits;
             ++block) {
            if (!loaded.blocks[block] && (wanted.empty() || wanted.back() != block)) {
                wanted.push_back(block);
            }
        }
    }
    std::ranges::sort(wanted);
    for (std::size_t i = 0; i < wanted.size();) {
        auto last = i;
        while (last + 1 < wanted.size() && wanted[last + 1] - wanted[last] <= kGapBlocks + 1) {
            ++last;
        }
        MS_TRY_VOID(load(area, loaded, wanted[i], wanted[last] + 1));
        i = last + 1;
    }
    return {};
}

Result<Bytes> AreaReader::read(const SidecarArea& area, ByteRange range) {
    MS_TRY_VOID(fetch(area, std::span(&range, 1)));
    return Bytes(loaded_[&area].bytes.get() + range.begin, range.end - range.begin);
}

}  // namespace molesignal
