#include "index/area_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/crc32c.h"

namespace molesignal {
namespace {

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
    auto bytes = sidecar_.kept(area.offset + first, area.offset + last);
    RangeReader::Block owner;
    if (bytes.empty()) {
        ++stats_.reads;
        stats_.bytes += last - first;
        MS_TRY(auto read, source_.read(area.offset + first, last - first));
        if (read.size() != last - first) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("index sidecar: {} of {} bytes at {} were read",
                                     read.size(),
                                     last - first,
                                     area.offset + first));
        }
        owner = std::make_shared<const ByteBuffer>(std::move(read));
        bytes = *owner;
    }
    for (auto block = begin; block < end; ++block) {
        const auto from = block_begin(block) - first;
        const auto piece =
            bytes.subspan(from, std::min<std::size_t>(block_begin(1), bytes.size() - from));
        const auto offset = area.offset + block_begin(block);
        if (crc32c(piece) != area.block_crcs[block]) {
            return Error(
                ErrorCode::kCorruption,
                fmt::format("index sidecar: the block at {} has a wrong checksum", offset));
        }
        if (owner != nullptr) {
            source_.keep_checked(offset, piece);
        }
        loaded.blocks.try_emplace(block, Piece{piece, owner});
    }
    return {};
}

bool AreaReader::take_checked(const SidecarArea& area, Loaded& loaded, std::size_t block) {
    const auto begin = block_begin(block);
    const auto end = std::min(block_begin(block + 1), area.bytes);
    if (!sidecar_.kept(area.offset + begin, area.offset + end).empty()) {
        return false;
    }
    auto checked = source_.find_checked(area.offset + begin);
    if (checked == nullptr || checked->size() != end - begin) {
        return false;
    }
    const Bytes bytes(*checked);
    loaded.blocks.emplace(block, Piece{bytes, std::move(checked)});
    return true;
}

Result<> AreaReader::fetch(const SidecarArea& area, std::span<const ByteRange> ranges) {
    auto& loaded = loaded_[&area];
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
            if (loaded.blocks.contains(block) || (!wanted.empty() && wanted.back() == block)) {
                continue;
            }
            if (!take_checked(area, loaded, block)) {
                wanted.push_back(block);
            }
        }
    }
    std::ranges::sort(wanted);
    const auto step = (source_.gap_bytes() >> kSidecarBlockBits) + 1;
    for (std::size_t i = 0; i < wanted.size();) {
        auto last = i;
        while (last + 1 < wanted.size() && wanted[last + 1] - wanted[last] <= step) {
            ++last;
        }
        MS_TRY_VOID(load(area, loaded, wanted[i], wanted[last] + 1));
        i = last + 1;
    }
    return {};
}

Bytes AreaReader::join(Loaded& loaded, ByteRange range) {
    const auto first = range.begin >> kSidecarBlockBits;
    const auto last = (range.end - 1) >> kSidecarBlockBits;
    const auto from = range.begin - block_begin(first);
    const auto& front = loaded.blocks.at(first);
    const auto* end = front.bytes.data() + front.bytes.size();
    auto block = first + 1;
    for (; block <= last; ++block) {
        const auto& piece = loaded.blocks.at(block);
        if (piece.owner != front.owner || piece.bytes.data() != end) {
            break;
        }
        end += piece.bytes.size();
    }
    if (block > last) {
        return {front.bytes.data() + from, range.end - range.begin};
    }
    auto [joined, is_new] = loaded.joined.try_emplace(std::pair(range.begin, range.end));
    if (is_new) {
        joined->second.reserve(range.end - range.begin);
        for (block = first; block <= last; ++block) {
            const auto skip = block == first ? from : 0;
            const auto bytes = loaded.blocks.at(block).bytes.subspan(skip);
            append_bytes(joined->second,
                         bytes.first(std::min<std::size_t>(
                             bytes.size(), range.end - range.begin - joined->second.size())));
        }
    }
    return joined->second;
}

Result<Bytes> AreaReader::read(const SidecarArea& area, ByteRange range) {
    MS_TRY_VOID(fetch(area, std::span(&range, 1)));
    if (range.begin == range.end) {
        return Bytes();
    }
    return join(loaded_[&area], range);
}

}  // namespace molesignal
