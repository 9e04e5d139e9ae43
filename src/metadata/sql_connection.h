#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

/// Bytes for a BLOB or BYTEA column. A view: the owner outlives the call.
struct SqlBytes {
    std::string_view bytes;
};

/// A parameter of a statement: NULL, a 64-bit integer, text or bytes. A view: the owner of text and
/// bytes outlives the call. Unsigned numbers travel as their two's complement.
struct SqlParameter {
    // NOLINTBEGIN(google-explicit-constructor): a parameter list reads like an argument list.
    SqlParameter(std::nullopt_t) {}
    SqlParameter(std::string_view text) : value(text) {}
    SqlParameter(const std::string& text) : value(std::string_view(text)) {}
    SqlParameter(const char* text) : value(std::string_view(text)) {}
    SqlParameter(SqlBytes bytes) : value(bytes) {}
    template <std::integral Integer>
    SqlParameter(Integer number) : value(static_cast<std::int64_t>(number)) {}
    SqlParameter(const std::optional<std::int64_t>& number) {
        if (number.has_value()) {
            value = *number;
        }
    }
    // NOLINTEND(google-explicit-constructor)

    std::variant<std::monostate, std::int64_t, std::string_view, SqlBytes> value;
};

using SqlParameters = std::vector<SqlParameter>;

/// What a statement returned. Reading a column as another type than the query gives is a defect
/// (asserted); NULL reads as 0 or the empty string.
class SqlRows {
public:
    using Value = std::variant<std::monostate, std::int64_t, std::string>;

    std::size_t size() const { return columns_ == 0 ? 0 : values_.size() / columns_; }
    bool empty() const { return values_.empty(); }
    /// Rows that an INSERT, UPDATE or DELETE changed.
    std::int64_t changed() const { return changed_; }
    bool is_null(std::size_t row, std::size_t column) const;
    std::int64_t integer(std::size_t row, std::size_t column) const;
    std::optional<std::int64_t> optional_integer(std::size_t row, std::size_t column) const;
    const std::string& text(std::size_t row, std::size_t column) const;
    /// Moves the text out.
    std::string take_text(std::size_t row, std::size_t column);

    // For the drivers.
    void set_columns(std::size_t columns) { columns_ = columns; }
    void reserve_rows(std::size_t rows) { values_.reserve(rows * columns_); }
    void add(Value value) { values_.push_back(std::move(value)); }
    void set_changed(std::int64_t changed) { changed_ = changed; }

private:
    const Value& at(std::size_t row, std::size_t column) const;

    std::size_t columns_ = 0;
    std::int64_t changed_ = 0;
    std::vector<Value> values_;
};

/// What a transaction does.
enum class SqlAccess : std::uint8_t {
    kRead = 1,   ///< Reads only; every statement sees one snapshot.
    kWrite = 2,  ///< Reads the newest committed rows; locks what it changes.
};

/// One connection to a SQL database. Implemented by SQLite and Postgres. One thread at a time.
///
/// Statements use `$1`, `$2`, … for parameters and only what both databases understand. Errors:
/// kConflict for a violated constraint, kUnavailable when the database cannot be reached or written
/// now, kTimeout and kCancelled by the context, kCorruption for a damaged file.
class SqlConnection {
public:
    virtual ~SqlConnection() = default;

    /// Starts a transaction; statements until commit or rollback belong to it.
    virtual Result<> begin(const RequestContext& context, SqlAccess access) = 0;
    /// Runs one statement inside the transaction. After an error only rollback is allowed.
    virtual Result<SqlRows> query(const RequestContext& context,
                                  std::string_view sql,
                                  const SqlParameters& parameters) = 0;
    /// kUnavailable: the transaction may or may not have been committed.
    virtual Result<> commit(const RequestContext& context) = 0;
    /// Ends the transaction without effect; a connection that cannot do that becomes unusable.
    virtual void rollback() = 0;

    /// Whether another transaction may use it.
    virtual bool usable() const = 0;
    /// Whether the last error came from concurrent transactions only (a serialisation failure or a
    /// deadlock): it had no effect, and the whole transaction may run again.
    virtual bool retryable() const = 0;
};

/// Where the databases differ.
struct SqlDialect {
    std::string_view name;        ///< "sqlite", "postgres".
    std::string_view for_update;  ///< Suffix of a SELECT that locks its rows.
    std::string_view now_us;      ///< Microseconds since 1970 by the database's clock.
    std::string_view blob_type;
    std::string_view serial_type;  ///< A 64-bit key that the database counts and never reuses.
    /// Run first in a migration's transaction: a large table takes longer than any request may.
    std::string_view lift_time_limit;
    /// Run then: one process at a time. Empty: not needed.
    std::string_view lock_migrations;
    /// A statement whose rows are what is wrong with the database, or "ok". Empty: there is none.
    std::string_view check_integrity;
};

}  // namespace molesignal
