#include "metadata/sqlite/sqlite_connection.h"

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/assert.h"
#include "metadata/sqlite/sqlite_checksums.h"

namespace molesignal {
namespace {

// How long a statement waits for another process's lock if the request has no deadline.
constexpr int kBusyMillisMax = 30'000;
// Virtual machine steps between two looks at the deadline: about a millisecond.
constexpr int kStepsPerCheck = 20'000;

ErrorCode sqlite_error_code(int primary) {
    switch (primary) {
        case SQLITE_CONSTRAINT:
            return ErrorCode::kConflict;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return ErrorCode::kCorruption;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_IOERR:
        case SQLITE_FULL:
        case SQLITE_CANTOPEN:
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_PROTOCOL:
        case SQLITE_INTERRUPT:
            return ErrorCode::kUnavailable;
        case SQLITE_TOOBIG:
            return ErrorCode::kInvalidArgument;
        default:
            return ErrorCode::kInternal;
    }
}

Error damaged_catalogue(std::string_view what) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the catalogue is damaged: {}. Run `molesignal doctor`, then restore "
                             "the file from a backup; docs/how-data-can-be-lost.md says what to do "
                             "without one",
                             what));
}

struct CloseSqlite {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeSqlite {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseSqlite>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeSqlite>;

void now_function(sqlite3_context* call, int /*count*/, sqlite3_value** /*values*/) {
    const auto* clock = static_cast<const Clock*>(sqlite3_user_data(call));
    sqlite3_result_int64(call, clock->now().value / 1000);
}

int check_context(void* context) {
    return static_cast<const RequestContext*>(context)->check().has_value() ? 0 : 1;
}

/// Stops a statement of `database` when `context` ends, for a scope.
class Interruption {
public:
    Interruption(sqlite3* database, const RequestContext& context) : database_(database) {
        // SQLite passes the pointer back untouched; check_context only reads it.
        sqlite3_progress_handler(
            database_, kStepsPerCheck, check_context, const_cast<RequestContext*>(&context));
    }
    ~Interruption() { sqlite3_progress_handler(database_, 0, nullptr, nullptr); }
    Interruption(const Interruption&) = delete;
    Interruption& operator=(const Interruption&) = delete;

private:
    sqlite3* database_;
};

class SqliteConnection final : public SqlConnection {
public:
    SqliteConnection(Database database, std::string path, SqlAccess access)
        : database_(std::move(database)), path_(std::move(path)), access_(access) {}

    Result<> configure(const Clock& clock);
    /// Makes durable what this open has found in SQLite's log. A transaction whose sync failed may
    /// be in it, with pages that the kernel calls clean: SQLite takes it for committed and writes
    /// behind it, and a power cut would take all of that. So every byte is written again, while no
    /// other connection can append, and synced.
    Result<> renew_log();

    Result<> begin(const RequestContext& context, SqlAccess access) override {
        MS_ASSERT(access == SqlAccess::kRead || access_ == SqlAccess::kWrite);
        MS_TRY_VOID(context.check());
        set_busy_timeout(context);
        return run(access == SqlAccess::kRead ? "BEGIN DEFERRED" : "BEGIN IMMEDIATE", &context);
    }
    Result<SqlRows> query(const RequestContext& context,
                          std::string_view sql,
                          const SqlParameters& parameters) override;
    Result<> commit(const RequestContext& /*context*/) override {
        // Not interrupted: a commit that has begun ends quickly, and half-way answers help nobody.
        return run("COMMIT", nullptr);
    }
    void rollback() override {
        if (sqlite3_get_autocommit(database_.get()) == 0 && !run("ROLLBACK", nullptr)) {
            usable_ = false;
        }
    }
    bool usable() const override { return usable_; }
    bool retryable() const override { return false; }  // A writer has the database to itself.

private:
    Result<> run(const char* sql, const RequestContext* context);
    Error last_error(const RequestContext* context, std::string_view doing) const;
    void set_busy_timeout(const RequestContext& context);
    Result<sqlite3_stmt*> prepare(std::string_view sql);
    static void bind(sqlite3_stmt* statement, const SqlParameters& parameters);
    static SqlRows::Value read_value(sqlite3_stmt* statement, int column);

    // Declared in this order: statements are finalised before the database closes.
    Database database_;
    std::map<std::string, Statement, std::less<>> statements_;
    std::string path_;
    SqlAccess access_;
    bool usable_ = true;
};

Error SqliteConnection::last_error(const RequestContext* context, std::string_view doing) const {
    const int code = sqlite3_errcode(database_.get());
    if (context != nullptr && (code == SQLITE_INTERRUPT || code == SQLITE_BUSY)) {
        if (auto ended = context->check(); !ended) {
            return std::move(ended).error().wrap(doing);
        }
    }
    const int extended = sqlite3_extended_errcode(database_.get());
    const auto kind = sqlite_error_code(code & 0xff);
    const auto page = take_page_damage();
    if (kind == ErrorCode::kCorruption || ((code & 0xff) == SQLITE_IOERR && !page.empty())) {
        return damaged_catalogue(
            page.empty() ? fmt::format("sqlite {}: {}", path_, sqlite3_errmsg(database_.get()))
                         : page);
    }
    return Error(kind,
                 fmt::format("sqlite {}: {}: {} (code {})",
                             path_,
                             doing,
                             sqlite3_errmsg(database_.get()),
                             extended));
}

Result<> SqliteConnection::run(const char* sql, const RequestContext* context) {
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        return last_error(context, sql);
    }
    return {};
}

void SqliteConnection::set_busy_timeout(const RequestContext& context) {
    auto millis = static_cast<std::int64_t>(kBusyMillisMax);
    if (context.clock != nullptr && context.deadline != SteadyNanos::never()) {
        const auto left = (context.deadline.value - context.clock->steady_now().value) / 1'000'000;
        millis = std::clamp<std::int64_t>(left + 1, 1, kBusyMillisMax);
    }
    sqlite3_busy_timeout(database_.get(), static_cast<int>(millis));
}

Result<> SqliteConnection::configure(const Clock& clock) {
    sqlite3_busy_timeout(database_.get(), kBusyMillisMax);
    sqlite3_extended_result_codes(database_.get(), 0);
    if (access_ == SqlAccess::kRead) {
        MS_TRY_VOID(run("PRAGMA query_only=ON", nullptr));
        sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    } else {
        // Two processes that create the file at once: this statement does not wait for locks.
        int tries_left = 500;
        while (
            sqlite3_exec(database_.get(), "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr) !=
            SQLITE_OK) {
            if (sqlite3_errcode(database_.get()) != SQLITE_BUSY || --tries_left == 0) {
                return last_error(nullptr, "switch to WAL mode");
            }
            sqlite3_sleep(10);
        }
    }
    MS_TRY_VOID(
        run("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; "
            "PRAGMA cache_spill=OFF",
            nullptr));
    // SQLite passes the pointer back untouched; now_function only reads it.
    auto* user_data = const_cast<Clock*>(&clock);
    if (sqlite3_create_function_v2(database_.get(),
                                   "ms_now_us",
                                   0,
                                   SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                   user_data,
                                   now_function,
                                   nullptr,
                                   nullptr,
                                   nullptr) != SQLITE_OK) {
        return last_error(nullptr, "define ms_now_us");
    }
    return {};
}

Result<> SqliteConnection::renew_log() {
    // SQLite's unix VFS writes less than 128 KiB at a time.
    static constexpr sqlite3_int64 kPieceBytes = 64 << 10;
    MS_TRY_VOID(run("BEGIN IMMEDIATE", nullptr));
    const auto renew = [this]() -> int {
        sqlite3_file* log = nullptr;
        sqlite3_int64 size = 0;
        int code = sqlite3_file_control(
            database_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log));
        if (code != SQLITE_OK || log == nullptr || log->pMethods == nullptr) {
            return code;
        }
        code = log->pMethods->xFileSize(log, &size);
        std::vector<char> piece;
        for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size; at += kPieceBytes) {
            piece.resize(static_cast<std::size_t>(std::min(kPieceBytes, size - at)));
            const auto bytes = static_cast<int>(piece.size());
            code = log->pMethods->xRead(log, piece.data(), bytes, at);
            if (code == SQLITE_OK) {
                code = log->pMethods->xWrite(log, piece.data(), bytes, at);
            }
        }
        return code == SQLITE_OK && size > 0 ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : code;
    };
    const int code = renew();
    rollback();
    if (code != SQLITE_OK) {
        return Error(sqlite_error_code(code & 0xff),
                     fmt::format("sqlite {}: make its log durable: {} (code {})",
                                 path_,
                                 sqlite3_errstr(code),
                                 code));
    }
    return {};
}

Result<sqlite3_stmt*> SqliteConnection::prepare(std::string_view sql) {
    if (const auto found = statements_.find(sql); found != statements_.end()) {
        return found->second.get();
    }
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v3(database_.get(),
                           sql.data(),
                           static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT,
                           &raw,
                           nullptr) != SQLITE_OK) {
        return last_error(nullptr, sql);
    }
    // The texts are constants of this folder, so the map stays small.
    statements_.emplace(std::string(sql), Statement(raw));
    return raw;
}

void SqliteConnection::bind(sqlite3_stmt* statement, const SqlParameters& parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const int at = sqlite3_bind_parameter_index(statement, fmt::format("${}", i + 1).c_str());
        MS_ASSERT(at > 0);
        int bound = SQLITE_OK;
        const auto& value = parameters[i].value;
        // SQLITE_STATIC: the parameters outlive the statement's run, and are cleared after it.
        if (const auto* number = std::get_if<std::int64_t>(&value)) {
            bound = sqlite3_bind_int64(statement, at, *number);
        } else if (const auto* text = std::get_if<std::string_view>(&value)) {
            bound = sqlite3_bind_text64(statement,
                                        at,
                                        text->data() == nullptr ? "" : text->data(),
                                        text->size(),
                                        SQLITE_STATIC,
                                        SQLITE_UTF8);
        } else if (const auto* blob = std::get_if<SqlBytes>(&value)) {
            bound = blob->bytes.empty()
                        ? sqlite3_bind_zeroblob(statement, at, 0)
                        : sqlite3_bind_blob64(
                              statement, at, blob->bytes.data(), blob->bytes.size(), SQLITE_STATIC);
        } else {
            bound = sqlite3_bind_null(statement, at);
        }
        MS_ASSERT(bound == SQLITE_OK);
    }
}

SqlRows::Value SqliteConnection::read_value(sqlite3_stmt* statement, int column) {
    switch (sqlite3_column_type(statement, column)) {
        case SQLITE_NULL:
            return {};
        case SQLITE_INTEGER:
            return sqlite3_column_int64(statement, column);
        default: {
            const auto* data = static_cast<const char*>(sqlite3_column_blob(statement, column));
            const auto bytes = static_cast<std::size_t>(sqlite3_column_bytes(statement, column));
            return std::string(data == nullptr ? "" : data, bytes);
        }
    }
}

Result<SqlRows> SqliteConnection::query(const RequestContext& context,
                                        std::string_view sql,
                                        const SqlParameters& parameters) {
    MS_TRY_VOID(context.check());
    MS_TRY(auto* statement, prepare(sql));
    bind(statement, parameters);
    SqlRows rows;
    const int columns = sqlite3_column_count(statement);
    rows.set_columns(static_cast<std::size_t>(columns));
    int step = SQLITE_OK;
    {
        const Interruption interruption(database_.get(), context);
        while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
            for (int column = 0; column < columns; ++column) {
                rows.add(read_value(statement, column));
            }
        }
    }
    std::optional<Error> failure;
    if (step != SQLITE_DONE) {
        failure = last_error(&context, sql);
    }
    rows.set_changed(sqlite3_changes64(database_.get()));
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (failure.has_value()) {
        return *std::move(failure);
    }
    return rows;
}

}  // namespace

const SqlDialect& sqlite_dialect() {
    static constexpr SqlDialect kDialect{.name = "sqlite",
                                         .for_update = "",
                                         .now_us = "ms_now_us()",
                                         .blob_type = "BLOB",
                                         .serial_type = "INTEGER PRIMARY KEY AUTOINCREMENT",
                                         .lift_time_limit = "",
                                         .lock_migrations = "",
                                         .check_integrity = "PRAGMA integrity_check(20)"};
    return kDialect;
}

Result<std::unique_ptr<SqlConnection>> open_sqlite_connection(const std::string& path,
                                                              SqlAccess access,
                                                              const Clock& clock) {
    sqlite3* raw = nullptr;
    const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE |
                      (access == SqlAccess::kWrite ? SQLITE_OPEN_CREATE : 0);
    const int opened = sqlite3_open_v2(path.c_str(), &raw, flags, checksum_file_layer());
    Database database(raw);
    if (opened == SQLITE_OK) {
        // Of a database that is made now; one that exists keeps what it has.
        int reserved = static_cast<int>(kPageChecksumBytes);
        sqlite3_file_control(raw, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    }
    if (opened != SQLITE_OK) {
        return Error(sqlite_error_code(opened & 0xff),
                     fmt::format("open the catalogue {}: {}",
                                 path,
                                 raw == nullptr ? sqlite3_errstr(opened) : sqlite3_errmsg(raw)));
    }
    auto connection = std::make_unique<SqliteConnection>(std::move(database), path, access);
    if (auto configured = connection->configure(clock); !configured) {
        return std::move(configured).error().wrap("open the catalogue");
    }
    if (access == SqlAccess::kWrite) {
        if (auto renewed = connection->renew_log(); !renewed) {
            return std::move(renewed).error().wrap("open the catalogue");
        }
    }
    return std::unique_ptr<SqlConnection>(std::move(connection));
}

}  // namespace molesignal
