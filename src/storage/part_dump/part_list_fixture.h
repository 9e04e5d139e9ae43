#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/random.h"
#include "metadata/part_info.h"

namespace molesignal {

/// Parts with every column used, at random.
inline std::vector<PartInfo> random_parts(SeededRandom& random, std::size_t count) {
    const auto pick = [&](std::uint64_t below) { return random.next_u64() % below; };
    std::vector<PartInfo> parts;
    for (std::size_t i = 0; i < count; ++i) {
        PartInfo part;
        part.id = fmt::format("{:026x}", random.next_u64());
        part.stream = StreamId{"stream"};
        for (std::uint64_t j = 0; j <= pick(3); ++j) {
            part.objects.push_back({.kind = j == 0 ? "parquet" : "index",
                                    .key = fmt::format("o/{:x}/{}", random.next_u64(), j),
                                    .bytes = static_cast<std::int64_t>(pick(1U << 30U)),
                                    .xxh3 = random.next_u64()});
        }
        part.rows = static_cast<std::int64_t>(1 + pick(1'000'000));
        part.raw_bytes = static_cast<std::int64_t>(pick(1ULL << 40U));
        part.time_min_us = static_cast<std::int64_t>(random.next_u64() >> 8U) - (1LL << 54U);
        part.time_max_us = part.time_min_us + static_cast<std::int64_t>(pick(1U << 30U));
        part.shard = ShardId{pick(4) == 0 ? 0 : random.next_u64()};
        part.position_begin = Position{random.next_u64()};
        part.position_end = Position{UINT64_MAX - pick(9)};
        for (std::uint64_t j = 0; j < pick(5); ++j) {
            part.fields.push_back(FieldId{static_cast<std::int32_t>(pick(1'000))});
            part.zone_maps.push_back({.field = part.fields.back(),
                                      .min = std::string("a\0\xff", 3),
                                      .max = std::string(pick(64), 'z'),
                                      .null_count = static_cast<std::int64_t>(pick(9))});
            part.row_groups.push_back({.rows = static_cast<std::int64_t>(pick(40'000)),
                                       .byte_end = static_cast<std::int64_t>(pick(1U << 29U))});
        }
        part.footer_xxh3 = random.next_u64();
        part.format_version = static_cast<std::int32_t>(1 + pick(3));
        part.sort_order = pick(2) == 0 ? "" : "service, _timestamp desc";
        part.added_version = static_cast<std::int64_t>(pick(1'000));
        parts.push_back(std::move(part));
    }
    return parts;
}

}  // namespace molesignal
