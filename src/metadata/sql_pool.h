#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/request_context.h"
#include "common/result.h"
#include "metadata/sql_connection.h"

namespace molesignal {

/// Connections that are made when first needed, at most a fixed number. Thread-safe; outlives its
/// leases.
class SqlPool {
public:
    using Connect =
        std::function<Result<std::unique_ptr<SqlConnection>>(const RequestContext& context)>;

    /// A connection taken from the pool; given back by the destructor, closed if not usable.
    class Lease {
    public:
        Lease(SqlPool& pool, std::unique_ptr<SqlConnection> connection)
            : pool_(&pool), connection_(std::move(connection)) {}
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&& other) = delete;
        ~Lease();
        SqlConnection& operator*() const { return *connection_; }
        SqlConnection* operator->() const { return connection_.get(); }

    private:
        SqlPool* pool_;
        std::unique_ptr<SqlConnection> connection_;
    };

    /// `setting` bounds the pool and appears in errors.
    SqlPool(Connect connect, std::size_t connections_max, std::string setting, Clock& clock);

    /// Waits for a free connection until the context's deadline. kUnavailable if none can be made.
    Result<Lease> take(const RequestContext& context);
    /// Closes the idle connections: after one of them turned out to be dead.
    void close_idle();

private:
    void give_back(std::unique_ptr<SqlConnection> connection);

    Connect connect_;
    std::size_t connections_max_;
    std::string setting_;
    Clock& clock_;
    Mutex mutex_;
    CondVar free_;
    std::vector<std::unique_ptr<SqlConnection>> idle_ MS_GUARDED_BY(mutex_);
    std::size_t taken_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
