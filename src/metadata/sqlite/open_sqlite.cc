#include <fmt/format.h>

#include "common/log.h"
#include "io/posix_fs.h"
#include "metadata/open_catalogue.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sql_pool.h"
#include "metadata/sqlite/sqlite_checksums.h"
#include "metadata/sqlite/sqlite_connection.h"
#include "metadata/sqlite/sqlite_file_state.h"

namespace molesignal {
namespace {

// Readers beside the one writer; more would only share two or three busy cores.
constexpr std::size_t kSqliteReadersMax = 4;
constexpr std::uint64_t kJournalBytesMax = 1ULL << 32U;

/// Before SQLite sees the file: gives an older one checksums, and keeps a damaged journal.
Result<> prepare_file(const std::string& path) {
    PosixFs fs;
    MS_TRY(const auto state, look_at_sqlite_file(fs, path));
    if (state == SqliteFileState::kPlain) {
        MS_TRY_VOID(add_page_checksums(fs, path));
    }
    if (state == SqliteFileState::kChecked) {
        MS_TRY(const bool is_foreign, is_written_by_others(fs, path));
        if (is_foreign) {
            MS_TRY_VOID(accept_pages(fs, path));
        }
    }
    MS_TRY(const auto damage, find_journal_damage(fs, path));
    if (!damage.empty()) {
        // What SQLite drops is lost to the catalogue; the log knows what it has handed over, and
        // the start says which rows are concerned.
        const auto kept = path + "-wal.damaged";
        MS_TRY(const auto content, read_file(fs, path + "-wal", kJournalBytesMax));
        MS_TRY_VOID(write_file_atomically(fs, kept, content));
        log_error("the catalogue's journal is damaged: its last transactions are lost",
                  {{"path", path + "-wal"}, {"damage", damage}, {"kept", kept}});
    }
    return {};
}

/// Only what a server has opened before, and nobody else since.
Result<> check_ours(const std::string& path) {
    PosixFs fs;
    MS_TRY(const auto state, look_at_sqlite_file(fs, path));
    if (state == SqliteFileState::kMissing) {
        return Error(ErrorCode::kNotFound, fmt::format("there is no catalogue in {}", path));
    }
    if (state == SqliteFileState::kPlain) {
        return Error(ErrorCode::kConflict,
                     fmt::format("the pages of the catalogue {} have no checksums; the next start "
                                 "of a server adds them",
                                 path));
    }
    MS_TRY(const bool is_foreign, is_written_by_others(fs, path));
    if (is_foreign) {
        return Error(
            ErrorCode::kConflict,
            fmt::format("another program has written to the catalogue {} after a server was "
                        "killed; the next start of a server checks it and takes it over",
                        path));
    }
    return {};
}

Result<std::unique_ptr<SqlCatalogue>> connect_for_writing(const std::string& path,
                                                          Clock& clock,
                                                          Random& random) {
    MS_TRY(auto mark, OpenMark::make(path));
    const auto connect = [path, &clock](SqlAccess access) {
        return [path, &clock, access](const RequestContext& /*context*/) {
            return open_sqlite_connection(path, access, clock);
        };
    };
    SqlCatalogue::Database database{
        .dialect = sqlite_dialect(),
        .description = fmt::format("sqlite {}", path),
        .guard = std::move(mark),
        .writers = std::make_unique<SqlPool>(
            connect(SqlAccess::kWrite), 1, "sqlite has one writer", clock),
        .readers = std::make_unique<SqlPool>(
            connect(SqlAccess::kRead), kSqliteReadersMax, "sqlite readers", clock)};
    {
        // The file is made and checked now, so that a wrong path is found at the start.
        MS_TRY(const auto writer,
               database.writers->take(RequestContext::background(clock, "open the catalogue")));
    }
    return std::make_unique<SqlCatalogue>(std::move(database), clock, random);
}

}  // namespace

Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue(const std::string& path,
                                                         Clock& clock,
                                                         Random& random) {
    if (path.empty() || path == ":memory:" || path.starts_with("file:")) {
        return Error(ErrorCode::kInvalidArgument,
                     "store.meta.path must be the path of a file on a local disk");
    }
    MS_TRY_VOID(prepare_file(path));
    MS_TRY(auto catalogue, connect_for_writing(path, clock, random));
    return std::unique_ptr<Catalogue>(std::move(catalogue));
}

Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue_beside(const RequestContext& context,
                                                                const std::string& path,
                                                                Clock& clock,
                                                                Random& random) {
    MS_TRY_VOID(check_ours(path));
    MS_TRY(auto catalogue, connect_for_writing(path, clock, random));
    MS_TRY_VOID(catalogue->check_version(context));
    return std::unique_ptr<Catalogue>(std::move(catalogue));
}

Result<std::unique_ptr<Catalogue>> open_sqlite_catalogue_for_reading(const std::string& path,
                                                                     Clock& clock,
                                                                     Random& random) {
    MS_TRY_VOID(check_ours(path));
    const auto connect = [path, &clock](const RequestContext& /*context*/) {
        return open_sqlite_connection(path, SqlAccess::kRead, clock);
    };
    return std::unique_ptr<Catalogue>(std::make_unique<SqlCatalogue>(
        SqlCatalogue::Database{
            .dialect = sqlite_dialect(),
            .description = fmt::format("sqlite {}", path),
            .guard = nullptr,
            .writers = std::make_unique<SqlPool>(connect, 1, "sqlite readers", clock),
            .readers = nullptr},
        clock,
        random));
}

}  // namespace molesignal
