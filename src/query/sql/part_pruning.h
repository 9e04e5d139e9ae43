#pragma once

#include <vector>

#include "metadata/catalogue.h"
#include "model/schema.h"
#include "query/sql/sql_guard.h"

namespace molesignal {

/// Whether `part` may hold a row that meets all of `conditions`, by its time bounds and zone maps.
/// Only what is certain rules a part out: a field of one type, compared with a constant of the
/// like.
bool may_hold(const PartInfo& part,
              const StreamSchema& schema,
              const std::vector<ScanCondition>& conditions);

}  // namespace molesignal
