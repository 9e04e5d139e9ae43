#pragma once

#include <string_view>

#include "common/result.h"
#include "query/sql/guard/sql_guard.h"

namespace molesignal {

/// What is looked at before the parser sees a statement: its size, bytes, brackets, comments and
/// WITH queries. The parser recurses by brackets, takes time quadratic in the depth of nested
/// comments, and exponential in that of WITH queries inside each other.
Result<> check_statement_text(std::string_view text, const GuardLimits& limits);

}  // namespace molesignal
