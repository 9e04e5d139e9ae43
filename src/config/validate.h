#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace molesignal {

/// Combinations of settings that are refused, each with what to do about it; empty if all is well.
/// The single values are within their ranges already.
std::vector<std::string> config_conflicts(const Config& config);

}  // namespace molesignal
