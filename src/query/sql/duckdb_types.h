#pragma once

#include <cstddef>

#include "model/field_type.h"
#include "query/sql/scan_source.h"

namespace duckdb {
class LogicalType;
}  // namespace duckdb

namespace molesignal {

/// DuckDB's type of a field's values, and of a column of a scan.
duckdb::LogicalType duckdb_type_of(FieldType type);
duckdb::LogicalType duckdb_type_of(const ScanSource& source, std::size_t column);

}  // namespace molesignal
