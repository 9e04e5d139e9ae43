#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metadata/sql_connection.h"

namespace molesignal {

/// One step of the catalogue's tables; applied once, in one transaction, and recorded in
/// `schema_migrations`. Released steps never change: a new step is added instead.
struct Migration {
    std::int64_t version;  ///< 1, 2, 3, …
    std::string_view name;
    /// Statements; `{blob}` and `{serial}` stand for the dialect's types.
    std::vector<std::string_view> statements;
};

/// All steps, in order.
std::span<const Migration> migrations();

/// The statement with the dialect's types.
std::string render_migration(std::string_view statement, const SqlDialect& dialect);

}  // namespace molesignal
