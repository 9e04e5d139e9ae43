#pragma once

#include <cstdint>
#include <utility>

#include "common/bytes.h"
#include "metadata/part_info.h"
#include "parquet/part_writer.h"

namespace molesignal {

/// XXH3-64 of a Parquet file's footer: the bytes before its length and the magic at the end. 0 if
/// `file` does not end like a Parquet file.
std::uint64_t footer_xxh3(Bytes file);

/// What the catalogue's row of a part says of its Parquet file: rows, times (rounded outward),
/// positions, fields, bounds, row groups, order.
inline void describe_shape(PartShape shape, PartInfo& part) {
    const auto floor_us = [](std::int64_t nanos) {
        return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
    };
    part.rows = static_cast<std::int64_t>(shape.rows);
    part.time_min_us = floor_us(shape.time_min_ns);
    part.time_max_us = floor_us(shape.time_max_ns + 999);
    part.position_begin = shape.position_begin;
    part.position_end = shape.position_end;
    part.fields = std::move(shape.fields);
    for (auto& zone : shape.zone_maps) {
        part.zone_maps.push_back({.field = zone.field,
                                  .min = std::move(zone.min),
                                  .max = std::move(zone.max),
                                  .null_count = static_cast<std::int64_t>(zone.null_count)});
    }
    for (const auto& group : shape.row_groups) {
        part.row_groups.push_back({.rows = static_cast<std::int64_t>(group.rows),
                                   .byte_end = static_cast<std::int64_t>(group.byte_end)});
    }
    part.sort_order = std::move(shape.sort_order);
}

}  // namespace molesignal
