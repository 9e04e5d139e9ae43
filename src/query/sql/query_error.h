#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"
#include "query/sql/scan_source.h"

namespace duckdb {
class ErrorData;
}  // namespace duckdb

namespace molesignal {

/// The key of DuckDB's extra information that says that an object is damaged.
inline constexpr const char* kDamagedObject = "ms_damaged_object";
/// Logs that the object of this key is damaged, and throws what becomes an error that names it.
[[noreturn]] void throw_damaged(const std::string& key, std::string_view what);

/// Our error for one of DuckDB's. `context` tells a deadline from a cancel; an unknown column names
/// the nearest columns of `sources`.
Error query_error(const duckdb::ErrorData& error,
                  const RequestContext& context,
                  const std::vector<std::shared_ptr<const ScanSource>>& sources);

}  // namespace molesignal
