#include "metadata/open_catalogue.h"
#include "metadata/postgres/postgres_connection.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_pool.h"

namespace molesignal {

namespace {

Result<std::unique_ptr<SqlCatalogue>> prepare(const std::string& url,
                                              std::size_t connections_max,
                                              Clock& clock,
                                              Random& random) {
    MS_TRY(auto description, describe_postgres(url));
    SqlCatalogue::Database database{
        .dialect = postgres_dialect(),
        .description = std::move(description),
        .writers = std::make_unique<SqlPool>(
            [url](const RequestContext& context) { return open_postgres_connection(context, url); },
            connections_max,
            "store.meta.max_connections",
            clock),
        .readers = nullptr};
    return std::make_unique<SqlCatalogue>(std::move(database), clock, random);
}

}  // namespace

Result<std::unique_ptr<Catalogue>> open_postgres_catalogue(const std::string& url,
                                                           std::size_t connections_max,
                                                           Clock& clock,
                                                           Random& random) {
    if (connections_max == 0) {
        return Error(ErrorCode::kInvalidArgument, "store.meta.max_connections must be at least 1");
    }
    MS_TRY(auto catalogue, prepare(url, connections_max, clock, random));
    return std::unique_ptr<Catalogue>(std::move(catalogue));
}

Result<std::unique_ptr<Catalogue>> open_postgres_catalogue_beside(const RequestContext& context,
                                                                  const std::string& url,
                                                                  Clock& clock,
                                                                  Random& random) {
    MS_TRY(auto catalogue, prepare(url, 1, clock, random));
    MS_TRY_VOID(catalogue->check_version(context));
    return std::unique_ptr<Catalogue>(std::move(catalogue));
}

}  // namespace molesignal
