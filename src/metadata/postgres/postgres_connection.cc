#include "metadata/postgres/postgres_connection.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include "common/assert.h"
#include "common/bytes.h"

namespace molesignal {
namespace {

// Type numbers of the server's catalogue (pg_type.dat), fixed for ever.
constexpr Oid kBool = 16;
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr int kBinary = 1;
// How often a waiter looks at its deadline and its cancel flag.
constexpr int kPollMillis = 50;
constexpr std::int64_t kConnectSecondsMax = 10;
constexpr std::int64_t kStatementMillisMax = 60'000;
// A rollback that takes longer ends the connection instead, and with it the transaction.
constexpr std::int64_t kRollbackMillisMax = 2'000;
// How soon the server ends a statement whose client is gone. Known since version 14; older ones
// end it by statement_timeout only.
constexpr std::string_view kNoticeClosedClients =
    "SELECT set_config(name, '1000', FALSE) FROM pg_settings"
    " WHERE name = 'client_connection_check_interval'";

struct CloseConnection {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Connection = std::unique_ptr<PGconn, CloseConnection>;
using QueryResult = std::unique_ptr<PGresult, ClearResult>;

std::uint64_t swap_bytes(std::uint64_t value) {
    return __builtin_bswap64(value);
}

/// The message without its line breaks; libpq's ends with one.
std::string one_line(const char* message) {
    std::string text(message == nullptr ? "" : message);
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    std::ranges::replace(text, '\n', ' ');
    return text;
}

ErrorCode postgres_error_code(std::string_view state) {
    const auto state_class = state.substr(0, 2);
    if (state_class == "23") {
        return ErrorCode::kConflict;
    }
    if (state_class == "22") {
        return ErrorCode::kInvalidArgument;  // Text that is not UTF-8, a number out of range.
    }
    if (state == "57014" || state == "55P03") {
        return ErrorCode::kTimeout;
    }
    if (state == "XX001" || state == "XX002") {
        return ErrorCode::kCorruption;
    }
    // Connection, resources, operator intervention, serialisation, system error, read-only server.
    for (const std::string_view unavailable : {"08", "53", "57", "40", "58"}) {
        if (state_class == unavailable) {
            return ErrorCode::kUnavailable;
        }
    }
    return state == "25006" ? ErrorCode::kUnavailable : ErrorCode::kInternal;
}

/// Milliseconds until the context's deadline, at least 1 and at most `millis_max`.
std::int64_t millis_left(const RequestContext& context, std::int64_t millis_max) {
    if (context.clock == nullptr || context.deadline == SteadyNanos::never()) {
        return millis_max;
    }
    const auto left = (context.deadline.value - context.clock->steady_now().value) / 1'000'000;
    return std::clamp<std::int64_t>(left, 1, millis_max);
}

/// How long to wait for a server: until the context ends, and no longer than so many polls.
class Patience {
public:
    explicit Patience(const RequestContext& context, std::int64_t millis_max = 0)
        : context_(context), polls_max_(millis_max / kPollMillis) {}

    /// Waits for the socket for at most kPollMillis. kTimeout, kCancelled.
    Result<> wait(PGconn* connection, short events) {
        pollfd waiting{.fd = PQsocket(connection), .events = events, .revents = 0};
        // The answer does not matter: libpq looks itself.
        (void)::poll(&waiting, 1, kPollMillis);
        ++polls_;
        if (polls_max_ > 0 && polls_ > polls_max_) {
            return Error(ErrorCode::kTimeout, "the server does not answer");
        }
        return context_.check();
    }

    const RequestContext& context() const { return context_; }

private:
    const RequestContext& context_;
    std::int64_t polls_max_;  ///< 0: no limit.
    std::int64_t polls_ = 0;
};

/// Parameters in the form that libpq wants; views into the caller's values.
class BoundParameters {
public:
    explicit BoundParameters(const SqlParameters& parameters) : numbers_(parameters.size()) {
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const auto& value = parameters[i].value;
            if (const auto* number = std::get_if<std::int64_t>(&value)) {
                numbers_[i] = swap_bytes(std::bit_cast<std::uint64_t>(*number));
                add(kInt8, reinterpret_cast<const char*>(&numbers_[i]), sizeof numbers_[i]);
            } else if (const auto* text = std::get_if<std::string_view>(&value)) {
                add(kText, text->data() == nullptr ? "" : text->data(), text->size());
            } else if (const auto* bytes = std::get_if<SqlBytes>(&value)) {
                add(kBytea,
                    bytes->bytes.data() == nullptr ? "" : bytes->bytes.data(),
                    bytes->bytes.size());
            } else {
                add(0, nullptr, 0);  // The server finds the type of a NULL.
            }
        }
    }

    int send(PGconn* connection, const char* sql) const {
        return PQsendQueryParams(connection,
                                 sql,
                                 static_cast<int>(values_.size()),
                                 types_.data(),
                                 values_.data(),
                                 sizes_.data(),
                                 formats_.data(),
                                 kBinary);
    }

private:
    void add(Oid type, const char* value, std::size_t size) {
        types_.push_back(type);
        values_.push_back(value);
        sizes_.push_back(static_cast<int>(size));
        formats_.push_back(kBinary);
    }

    std::vector<std::uint64_t> numbers_;
    std::vector<Oid> types_;
    std::vector<const char*> values_;
    std::vector<int> sizes_;
    std::vector<int> formats_;
};

SqlRows::Value read_value(const PGresult* result, int row, int column) {
    if (PQgetisnull(result, row, column) != 0) {
        return {};
    }
    const char* data = PQgetvalue(result, row, column);
    const auto size = static_cast<std::size_t>(PQgetlength(result, row, column));
    switch (PQftype(result, column)) {
        case kBool:
        case kInt2:
        case kInt4:
        case kInt8: {
            MS_ASSERT(size >= 1);
            MS_ASSERT(size <= 8);
            // Big-endian two's complement of 1, 2, 4 or 8 bytes.
            std::uint64_t value = (static_cast<unsigned char>(data[0]) & 0x80U) != 0 ? ~0ULL : 0;
            for (std::size_t i = 0; i < size; ++i) {
                value = value << 8U | static_cast<unsigned char>(data[i]);
            }
            return std::bit_cast<std::int64_t>(value);
        }
        default:
            return std::string(data, size);
    }
}

class PostgresConnection final : public SqlConnection {
public:
    PostgresConnection(Connection connection, std::string description)
        : connection_(std::move(connection)), description_(std::move(description)) {}

    Result<> begin(const RequestContext& context, SqlAccess access) override;
    Result<SqlRows> query(const RequestContext& context,
                          std::string_view sql,
                          const SqlParameters& parameters) override;
    Result<> commit(const RequestContext& context) override;
    void rollback() override;
    bool usable() const override { return usable_; }
    bool retryable() const override { return retryable_; }

private:
    /// Waits for the last result of what was sent. kTimeout and kCancelled leave the connection
    /// unusable: the server may still be at work. It is not asked to stop: that takes a second
    /// connection, which libpq makes without a time limit, to a server that may be gone. It stops
    /// by itself once this connection is closed (kNoticeClosedClients), or by statement_timeout.
    Result<QueryResult> wait_for_result(Patience patience);
    Result<> send_and_receive(Patience& patience);
    Result<QueryResult> simple(Patience patience, const char* sql);
    Error connection_error(std::string_view doing);
    Error result_error(const RequestContext& context,
                       const PGresult* result,
                       std::string_view doing);

    Connection connection_;
    std::string description_;
    bool usable_ = true;
    bool retryable_ = false;
};

Error PostgresConnection::connection_error(std::string_view doing) {
    usable_ = false;
    return Error(
        ErrorCode::kUnavailable,
        fmt::format(
            "{}: {}: {}", description_, doing, one_line(PQerrorMessage(connection_.get()))));
}

Error PostgresConnection::result_error(const RequestContext& context,
                                       const PGresult* result,
                                       std::string_view doing) {
    const char* raw = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (raw == nullptr || PQstatus(connection_.get()) == CONNECTION_BAD) {
        return connection_error(doing);
    }
    const std::string_view state(raw);
    // 57P01..57P05: the server is going down or ends this session.
    usable_ = usable_ && !state.starts_with("57P") && !state.starts_with("08");
    retryable_ = state == "40001" || state == "40P01";
    if (state == "57014") {
        if (auto ended = context.check(); !ended) {
            return std::move(ended).error().wrap(doing);
        }
    }
    return Error(postgres_error_code(state),
                 fmt::format("{}: {}: {} (SQLSTATE {})",
                             description_,
                             doing,
                             one_line(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)),
                             state));
}

Result<> PostgresConnection::send_and_receive(Patience& patience) {
    while (PQflush(connection_.get()) == 1) {
        MS_TRY_VOID(patience.wait(connection_.get(), POLLIN | POLLOUT));
        if (PQconsumeInput(connection_.get()) == 0) {
            return connection_error("send");
        }
    }
    while (PQisBusy(connection_.get()) != 0) {
        const auto go_on = patience.wait(connection_.get(), POLLIN);
        if (PQconsumeInput(connection_.get()) == 0) {
            return connection_error("receive");
        }
        if (!go_on && PQisBusy(connection_.get()) != 0) {
            return go_on;
        }
    }
    return {};
}

Result<QueryResult> PostgresConnection::wait_for_result(Patience patience) {
    QueryResult last;
    while (true) {
        if (auto received = send_and_receive(patience); !received) {
            usable_ = false;
            return std::move(received).error();
        }
        QueryResult next(PQgetResult(connection_.get()));
        if (next == nullptr) {
            break;
        }
        // Of several statements the first failure counts; nothing ran after it.
        if (last == nullptr || PQresultStatus(last.get()) != PGRES_FATAL_ERROR) {
            last = std::move(next);
        }
    }
    if (last == nullptr) {
        return connection_error("receive");
    }
    return last;
}

Result<QueryResult> PostgresConnection::simple(Patience patience, const char* sql) {
    retryable_ = false;
    if (PQsendQuery(connection_.get(), sql) == 0) {
        return connection_error(sql);
    }
    MS_TRY(auto result, wait_for_result(patience));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
        return result_error(patience.context(), result.get(), sql);
    }
    return result;
}

Result<> PostgresConnection::begin(const RequestContext& context, SqlAccess access) {
    MS_TRY_VOID(context.check());
    const auto sql = fmt::format(
        "BEGIN ISOLATION LEVEL {}; SET LOCAL statement_timeout = {}",
        access == SqlAccess::kRead ? "REPEATABLE READ READ ONLY" : "READ COMMITTED READ WRITE",
        millis_left(context, kStatementMillisMax));
    MS_TRY_VOID(simple(Patience(context), sql.c_str()));
    return {};
}

Result<SqlRows> PostgresConnection::query(const RequestContext& context,
                                          std::string_view sql,
                                          const SqlParameters& parameters) {
    MS_TRY_VOID(context.check());
    retryable_ = false;
    const std::string text(sql);
    if (BoundParameters(parameters).send(connection_.get(), text.c_str()) == 0) {
        return connection_error(sql);
    }
    MS_TRY(const auto result, wait_for_result(Patience(context)));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        return result_error(context, result.get(), sql);
    }
    SqlRows rows;
    const int columns = PQnfields(result.get());
    const int count = PQntuples(result.get());
    rows.set_columns(static_cast<std::size_t>(columns));
    rows.reserve_rows(static_cast<std::size_t>(count));
    for (int row = 0; row < count; ++row) {
        for (int column = 0; column < columns; ++column) {
            rows.add(read_value(result.get(), row, column));
        }
    }
    std::int64_t changed = 0;
    for (const char* digit = PQcmdTuples(result.get()); *digit >= '0' && *digit <= '9'; ++digit) {
        changed = changed * 10 + (*digit - '0');
    }
    rows.set_changed(changed);
    return rows;
}

Result<> PostgresConnection::commit(const RequestContext& context) {
    auto result = simple(Patience(context), "COMMIT");
    if (!result) {
        const auto code = result.error().code();
        if (code == ErrorCode::kTimeout || code == ErrorCode::kCancelled) {
            // Not a clean time-out: the server may have committed all the same.
            return Error(
                ErrorCode::kUnavailable,
                fmt::format("{}: no answer to COMMIT: {}", description_, result.error().message()));
        }
        return std::move(result).error();
    }
    // A transaction that had failed answers a COMMIT with success and the tag ROLLBACK.
    if (std::string_view(PQcmdStatus(result->get())) != "COMMIT") {
        return Error(ErrorCode::kInternal,
                     fmt::format("{}: the server rolled back instead of committing", description_));
    }
    return {};
}

void PostgresConnection::rollback() {
    if (!usable_ || PQtransactionStatus(connection_.get()) == PQTRANS_IDLE) {
        return;
    }
    const bool was_retryable = retryable_;
    // Not by the deadline of a request, which may have passed already.
    const RequestContext nobody;
    if (!simple(Patience(nobody, kRollbackMillisMax), "ROLLBACK")) {
        usable_ = false;
    }
    retryable_ = was_retryable;
}

}  // namespace

const SqlDialect& postgres_dialect() {
    static constexpr SqlDialect kDialect{
        .name = "postgres",
        .for_update = " FOR NO KEY UPDATE",
        .now_us = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
        .blob_type = "BYTEA",
        .serial_type = "BIGSERIAL PRIMARY KEY",
        .lift_time_limit = "SELECT set_config('statement_timeout', '0', TRUE)",
        // Any number of ours; transactions of one database that migrate wait here for each other.
        .lock_migrations = "SELECT pg_advisory_xact_lock(7867142109455101)",
        .check_integrity = ""};
    return kDialect;
}

Result<std::string> describe_postgres(const std::string& url) {
    const std::unique_ptr<PQconninfoOption, FreeOptions> options(
        PQconninfoParse(url.c_str(), nullptr));
    if (options == nullptr) {
        return Error(
            ErrorCode::kInvalidArgument,
            "store.meta.dsn is neither postgresql://user@host/database nor key=value text");
    }
    std::string host;
    std::string database;
    for (const auto* option = options.get(); option->keyword != nullptr; ++option) {
        const std::string_view keyword(option->keyword);
        if (option->val == nullptr) {
            continue;
        }
        if (keyword == "host" || (keyword == "hostaddr" && host.empty())) {
            host = option->val;
        } else if (keyword == "dbname") {
            database = option->val;
        }
    }
    return fmt::format("postgres {}/{}", host, database);
}

Result<std::unique_ptr<SqlConnection>> open_postgres_connection(const RequestContext& context,
                                                                const std::string& url) {
    MS_TRY(auto description, describe_postgres(url));
    constexpr std::array<const char*, 5> kKeywords{
        "fallback_application_name", "client_encoding", "tcp_user_timeout", "dbname", nullptr};
    const std::array<const char*, 5> values{"molesignal", "UTF8", "60000", url.c_str(), nullptr};
    Connection connection(PQconnectStartParams(kKeywords.data(), values.data(), 1));
    if (connection == nullptr) {
        return Error(ErrorCode::kUnavailable, "libpq has no memory");
    }
    const auto failed = [&](std::string_view why) {
        return Error(ErrorCode::kUnavailable, fmt::format("{}: connect: {}", description, why));
    };
    const auto polls_max = kConnectSecondsMax * 1000 / kPollMillis;
    std::int64_t idle_polls = 0;
    auto state = PGRES_POLLING_WRITING;
    while (PQstatus(connection.get()) != CONNECTION_BAD && state != PGRES_POLLING_OK &&
           state != PGRES_POLLING_FAILED) {
        pollfd waiting{
            .fd = PQsocket(connection.get()),
            .events = static_cast<short>(state == PGRES_POLLING_READING ? POLLIN : POLLOUT),
            .revents = 0};
        if (::poll(&waiting, 1, kPollMillis) > 0) {
            state = PQconnectPoll(connection.get());
        } else if (++idle_polls >= polls_max) {
            return failed(fmt::format("no answer in {} s", kConnectSecondsMax));
        }
        if (auto go_on = context.check(); !go_on) {
            return std::move(go_on).error().wrap(failed("waiting").message());
        }
    }
    if (PQstatus(connection.get()) != CONNECTION_OK) {
        return failed(one_line(PQerrorMessage(connection.get())));
    }
    PQsetnonblocking(connection.get(), 1);
    // Notices are the server's chatter ("relation exists, skipping"); errors come as results.
    PQsetNoticeReceiver(
        connection.get(), [](void* /*unused*/, const PGresult* /*notice*/) {}, nullptr);
    auto made = std::make_unique<PostgresConnection>(std::move(connection), std::move(description));
    // A server that does not know the setting goes without.
    auto set = made->query(context, kNoticeClosedClients, {});
    if (!set && !made->usable()) {
        return std::move(set).error();
    }
    return std::unique_ptr<SqlConnection>(std::move(made));
}

}  // namespace molesignal
