#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "metadata/stream_info.h"

namespace molesignal {

/// The key of a part's Parquet object: `{org}/{type}/{stream}/{yyyy}/{mm}/{dd}/{ulid}.parquet`, the
/// day of the part's newest row.
std::string part_object_key(const StreamInfo& stream,
                            std::int64_t newest_time_ns,
                            std::string_view ulid);

/// The key of a pack of ids: `{org}/{type}/{stream}/ids/{ulid}.ids`.
std::string id_pack_object_key(const StreamInfo& stream, std::string_view ulid);

/// The key of the part's `number`-th index, from 0, beside it: `{ulid}.idx`, `{ulid}-1.idx`, ….
std::string index_object_key(std::string_view part_key, std::size_t number = 0);

/// The key of the object that lists a stream's parts of a day or hour ("2026-11-26T07").
std::string part_list_key(const StreamInfo& stream,
                          std::string_view partition,
                          std::string_view ulid);

}  // namespace molesignal
