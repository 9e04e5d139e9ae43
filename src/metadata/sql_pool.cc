#include "metadata/sql_pool.h"

#include <chrono>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {
namespace {

// Cancellation sets a flag and wakes nobody, so a waiter looks at it this often.
constexpr std::chrono::milliseconds kCancelPoll{50};

}  // namespace

SqlPool::Lease::~Lease() {
    if (connection_ != nullptr) {
        pool_->give_back(std::move(connection_));
    }
}

SqlPool::SqlPool(Connect connect, std::size_t connections_max, std::string setting, Clock& clock)
    : connect_(std::move(connect)),
      connections_max_(connections_max),
      setting_(std::move(setting)),
      clock_(clock) {
    MS_ASSERT(connections_max_ > 0);
}

Result<SqlPool::Lease> SqlPool::take(const RequestContext& context) {
    {
        const MutexLock lock(mutex_);
        while (idle_.empty() && taken_ >= connections_max_) {
            if (auto go_on = context.check(); !go_on) {
                return std::move(go_on).error().wrap(fmt::format(
                    "wait for one of {} catalogue connections ({})", connections_max_, setting_));
            }
            const auto poll = clock_.steady_now() + kCancelPoll;
            clock_.wait_until(mutex_, free_, std::min(poll, context.deadline));
        }
        ++taken_;
        if (!idle_.empty()) {
            auto connection = std::move(idle_.back());
            idle_.pop_back();
            return Lease(*this, std::move(connection));
        }
    }
    auto connection = connect_(context);
    if (!connection) {
        const MutexLock lock(mutex_);
        --taken_;
        free_.notify_one();
        return std::move(connection).error();
    }
    return Lease(*this, *std::move(connection));
}

void SqlPool::close_idle() {
    std::vector<std::unique_ptr<SqlConnection>> closed;
    const MutexLock lock(mutex_);
    closed.swap(idle_);
}

void SqlPool::give_back(std::unique_ptr<SqlConnection> connection) {
    const bool usable = connection->usable();
    if (!usable) {
        connection.reset();
    }
    const MutexLock lock(mutex_);
    MS_ASSERT(taken_ > 0);
    --taken_;
    if (usable) {
        idle_.push_back(std::move(connection));
    }
    free_.notify_one();
}

}  // namespace molesignal
