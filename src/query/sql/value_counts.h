#pragma once

#include <memory>

#include "common/request_context.h"
#include "common/result.h"
#include "query/sql/scan_source.h"

namespace duckdb {
class Connection;
class DuckDB;
}  // namespace duckdb

namespace molesignal {

struct InstanceState;

/// Lets indexes count the values of the field that `source` is to count: in the parts that lie
/// within its time range and whose index lists the field's values. These parts are taken out of
/// it. Where they have less than half of the parts' rows, or too many values, nothing is counted.
/// An error: `context` has ended.
Result<> count_values(InstanceState& state, const RequestContext& context, ScanSource& source);

/// Registers `ms_counts(handle)`: what indexes have counted.
void register_value_counts(duckdb::DuckDB& database,
                           duckdb::Connection& connection,
                           const std::shared_ptr<InstanceState>& state);

}  // namespace molesignal
