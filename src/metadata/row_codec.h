#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "metadata/catalogue.h"

namespace molesignal {

/// Columns that are more than one value. docs/formats/catalogue.md has the grammar.

/// `parquet_file_meta.statistics`: the part's fields and zone maps.
std::string encode_statistics(const std::vector<FieldId>& fields,
                              const std::vector<ZoneMap>& zone_maps);
/// Fills both; kCorruption if `text` is anything else than what encode_statistics makes.
Result<> decode_statistics(std::string_view text,
                           std::vector<FieldId>& fields,
                           std::vector<ZoneMap>& zone_maps);

/// `streams.settings`: a JSON object.
std::string encode_settings(const StreamSettings& settings);
Result<StreamSettings> decode_settings(std::string_view json);

/// `flush_intents.object_keys`: a JSON array of strings.
std::string encode_names(const std::vector<std::string>& names);
Result<std::vector<std::string>> decode_names(std::string_view json);

}  // namespace molesignal
