#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/ids.h"

namespace molesignal {

/// One object of a part.
struct PartObject {
    std::string kind;  ///< "parquet"; later "index" and others.
    std::string key;
    std::int64_t bytes = 0;
    std::uint64_t xxh3 = 0;  ///< XXH3-64 of the whole object.
    friend bool operator==(const PartObject&, const PartObject&) = default;
};

/// The smallest and largest value of one field in a part, rounded outward. Numbers by value,
/// strings by their first 64 bytes (the maximum incremented when cut).
struct ZoneMap {
    FieldId field;
    std::string min;  ///< Canonical text: decimal for numbers, the bytes themselves for strings.
    std::string max;
    std::int64_t null_count = 0;
    friend bool operator==(const ZoneMap&, const ZoneMap&) = default;
};

/// Where a row group lies in the part's Parquet object; groups follow each other from its start.
struct RowGroupInfo {
    std::int64_t rows = 0;
    std::int64_t byte_end = 0;  ///< One past its last byte.
    friend bool operator==(const RowGroupInfo&, const RowGroupInfo&) = default;
};

/// `PartInfo::shard` of a part that compaction made of rows of several shards. No shard has it.
inline constexpr ShardId kSeveralShards{0};

/// An immutable set of rows in the object store.
struct PartInfo {
    std::string id;  ///< ULID.
    StreamId stream;
    std::vector<PartObject> objects;
    std::int64_t rows = 0;
    std::int64_t raw_bytes = 0;
    std::int64_t time_min_us = 0;  ///< Rounded down.
    std::int64_t time_max_us = 0;  ///< Rounded up; inclusive.
    ShardId shard;                 ///< Of all its rows, or kSeveralShards.
    Position position_begin;       ///< Smallest position in the part, whatever the row's shard.
    Position position_end;  ///< One past the largest. Parts may share a range: a flush splits it by
                            ///< time, compaction puts several together.
    std::vector<FieldId> fields;  ///< The columns that the part has.
    std::vector<ZoneMap> zone_maps;
    std::vector<RowGroupInfo> row_groups;  ///< In file order.
    std::uint64_t footer_xxh3 = 0;         ///< Of the Parquet object's footer; 0: of an older part.
    std::int32_t format_version = 1;
    std::string sort_order;          ///< For people and planners: "service,_timestamp".
    std::int64_t added_version = 0;  ///< Set by commit.
    std::string dump = {};  ///< Id of the dump that lists it; empty: it is a row of the table.
    friend bool operator==(const PartInfo&, const PartInfo&) = default;
};

/// A pack of ids: one object that says which of some parts of a stream may have an id
/// (docs/formats/id_pack.md). It names them itself; those that are not live any more do not matter.
struct IdPackInfo {
    std::string id;  ///< ULID.
    PartObject object;
    std::int64_t time_min_us = 0;  ///< Of all its parts.
    std::int64_t time_max_us = 0;  ///< Inclusive.
};

}  // namespace molesignal
