#pragma once

#include <set>
#include <span>
#include <string>

#include "query/sql/engine_instance.h"
#include "query/sql/parts/index_conditions.h"

namespace molesignal {

/// Asks the packs of a stream's ids which parts cannot have a row for which all of `conditions` are
/// true: two reads for each pack, however many parts it is of. Returns the ids of these parts; none
/// if no condition names ids. A damaged pack is logged and rules nothing out.
std::set<std::string> parts_ruled_out_by_packs(InstanceState& state,
                                               const ScanSource& source,
                                               std::span<const IndexCondition* const> conditions);

}  // namespace molesignal
