#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/random.h"
#include "common/result.h"
#include "metadata/catalogue.h"

namespace molesignal {

/// Opens the catalogue in the SQLite file `path`, made if missing (its folder must exist). Durable:
/// WAL mode with synchronous=FULL. One write connection, a few readers; several processes may share
/// the file. Lease and removal times are by `clock`. Run `migrate` before any other verb.
/// `clock` and `random` outlive the catalogue.
Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue(const std::string& path,
                                                         Clock& clock,
                                                         Random& random);

/// Opens the catalogue in the SQLite file `path` for reading, beside a server or without one:
/// nothing is made, migrated or written, and verbs that write fail. kNotFound: no such file;
/// kConflict: its pages have no checksums yet, the next start of a server adds them; kCorruption.
Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue_for_reading(const std::string& path,
                                                                     Clock& clock,
                                                                     Random& random);

/// Opens the catalogue in the SQLite file `path` for reading and writing, beside a server or
/// without one: nothing is made, migrated or repaired. Errors as above, and kConflict: the tables
/// are not of this program's version.
Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue_beside(const RequestContext& context,
                                                                const std::string& path,
                                                                Clock& clock,
                                                                Random& random);

/// Prepares a catalogue in the Postgres database `url` (a URL or `key=value` text) with at most
/// `connections_max` connections, made when needed: a server that is down is seen by the first
/// verb, and every verb after an outage connects anew. kInvalidArgument: `url` cannot be parsed (it
/// is not repeated in the error, for it may hold a password). Lease and removal times are by the
/// server's clock. Run `migrate` before any other verb. `clock` and `random` outlive the catalogue.
Result<std::unique_ptr<Catalogue>> open_postgres_catalogue(const std::string& url,
                                                           std::size_t connections_max,
                                                           Clock& clock,
                                                           Random& random);

/// The same beside a server or without one: nothing is migrated. kConflict: the tables are not of
/// this program's version.
Result<std::unique_ptr<Catalogue>> open_postgres_catalogue_beside(const RequestContext& context,
                                                                  const std::string& url,
                                                                  Clock& clock,
                                                                  Random& random);

}  // namespace molesignal
