#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace molesignal {

/// The edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; letters' case
/// does not count. Cost is a.size() * b.size().
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The name of `known` that `wrong` was probably meant to be: for "did you mean". Nothing if none
/// is near (at most a third of the letters differ). Names longer than 256 bytes are not compared.
std::optional<std::string_view> nearest_name(std::string_view wrong,
                                             const std::vector<std::string_view>& known);

/// At most three of `names` that `wrong` may have been meant to be, the nearest first. The work is
/// bounded whatever the names are.
std::vector<std::string> nearest_names(std::string_view wrong,
                                       const std::vector<std::string>& names);

}  // namespace molesignal
