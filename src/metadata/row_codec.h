#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "metadata/catalogue.h"

namespace molesignal {

/// Columns that are more than one value. docs/formats/catalogue.md has the grammar.

/// `parquet_file_meta.statistics`: the part's fields, zone maps and row groups.
std::string encode_statistics(const PartInfo& part);
/// Fills the three; kCorruption if `text` is anything else than what encode_statistics makes.
Result<> decode_statistics(std::string_view text, PartInfo& part);

/// `streams.settings`: a JSON object.
std::string encode_settings(const StreamSettings& settings);
Result<StreamSettings> decode_settings(std::string_view json);

/// `flush_intents.object_keys`: a JSON array of strings.
std::string encode_names(const std::vector<std::string>& names);
Result<std::vector<std::string>> decode_names(std::string_view json);

}  // namespace molesignal
