#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/request_context.h"
#include "common/result.h"
#include "metadata/sql_connection.h"

namespace molesignal {

/// SQLite: the clock is the process's, as the function `ms_now_us()`.
const SqlDialect& sqlite_dialect();

/// Opens the database file `path` (made if missing; its folder must exist) in WAL mode with
/// synchronous=FULL: a commit is durable when it returns. A reader refuses to write. `clock`
/// outlives the connection.
Result<std::unique_ptr<SqlConnection>> open_sqlite_connection(const std::string& path,
                                                              SqlAccess access,
                                                              const Clock& clock);

}  // namespace molesignal
