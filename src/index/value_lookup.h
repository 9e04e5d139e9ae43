#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/area_reader.h"

namespace molesignal {

/// The values of an exact field, in the order of their bytes, with their counts.
Result<std::vector<ValueCount>> exact_value_counts(const SidecarDirectory& directory,
                                                   const SidecarField& field,
                                                   AreaReader& areas);

/// The blocks of rows of the values that `accept` takes; exact where these values fill their
/// blocks.
Result<RowSelection> select_exact_values(const SidecarDirectory& directory,
                                         const SidecarField& field,
                                         AreaReader& areas,
                                         const std::function<bool(std::string_view)>& accept);

/// Whether a value has the tokens one behind the other, as `match` says.
bool has_phrase(std::string_view value, std::span<const std::string> tokens, bool last_is_prefix);
/// Whether a value may have `literal` in it. Of letters outside ASCII it does not know the case:
/// then the answer is yes.
bool may_contain(std::string_view value, std::string_view literal, bool ignore_case);

}  // namespace molesignal
