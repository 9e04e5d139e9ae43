#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/request_context.h"
#include "common/result.h"
#include "metadata/sql_connection.h"

namespace molesignal {

/// Postgres: the clock is the server's.
const SqlDialect& postgres_dialect();

/// "postgres host/database", without user and password. kInvalidArgument if `url` is neither a URL
/// nor `key=value` text; the error does not repeat it, for it may hold a password.
Result<std::string> describe_postgres(const std::string& url);

/// Connects to the server within the context's deadline. kUnavailable if that fails.
Result<std::unique_ptr<SqlConnection>> open_postgres_connection(const RequestContext& context,
                                                                const std::string& url);

}  // namespace molesignal
