#include <fmt/format.h>

#include "metadata/open_catalogue.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_pool.h"
#include "metadata/sqlite_connection.h"

namespace molesignal {
namespace {

// Readers beside the one writer; more would only share two or three busy cores.
constexpr std::size_t kSqliteReadersMax = 4;

}  // namespace

Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue(const std::string& path,
                                                         Clock& clock,
                                                         Random& random) {
    if (path.empty() || path == ":memory:" || path.starts_with("file:")) {
        return Error(ErrorCode::kInvalidArgument,
                     "store.meta.path must be the path of a file on a local disk");
    }
    const auto connect = [path, &clock](SqlAccess access) {
        return [path, &clock, access](const RequestContext& /*context*/) {
            return open_sqlite_connection(path, access, clock);
        };
    };
    SqlCatalogue::Database database{
        .dialect = sqlite_dialect(),
        .description = fmt::format("sqlite {}", path),
        .writers = std::make_unique<SqlPool>(
            connect(SqlAccess::kWrite), 1, "sqlite has one writer", clock),
        .readers = std::make_unique<SqlPool>(
            connect(SqlAccess::kRead), kSqliteReadersMax, "sqlite readers", clock)};
    {
        // The file is made and checked now, so that a wrong path is found at the start.
        MS_TRY(const auto writer,
               database.writers->take(RequestContext::background(clock, "open the catalogue")));
    }
    return std::unique_ptr<Catalogue>(
        std::make_unique<SqlCatalogue>(std::move(database), clock, random));
}

}  // namespace molesignal
