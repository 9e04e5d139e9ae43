#pragma once

#include <atomic>
#include <exception>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/memory_budget.h"
#include "common/mutex.h"
#include "common/thread_pool.h"
#include "net/http_lane.h"
#include "net/http_server.h"

namespace molesignal {

class HttpConnection;

/// The end of a coroutine, for co_spawn. An exception out of one is a bug or the end of memory, and
/// would leave its connection counted for ever: it ends the process, with its text.
inline void end_on_exception(const std::exception_ptr& error) {
    if (error) {
        std::rethrow_exception(error);
    }
}

/// One I/O thread with the connections that live on it. All but `context`, `thread` and
/// `idle_count` is touched only on that thread.
struct HttpLoop {
    boost::asio::io_context context{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
        context.get_executor()};
    boost::asio::steady_timer sweeper{context};
    bool sweeping = false;
    bool stopping = false;
    std::set<HttpConnection*> connections;
    std::list<HttpConnection*> idle;  ///< Those that wait for a request, the longest first.
    std::atomic<std::size_t> idle_count{0};
    std::thread thread;
};

/// What all connections of a server share. Thread-safe where not const.
struct HttpEngine {
    HttpEngine(HttpServerOptions server_options,
               HttpHandler request_handler,
               HttpHooks server_hooks,
               Clock& server_clock,
               Random& server_random);

    const HttpServerOptions options;
    const HttpHandler handler;
    const HttpHooks hooks;
    Clock& clock;
    Random& random;
    std::vector<std::unique_ptr<HttpLane>> lanes;
    ThreadPool pool;  ///< As many threads as the lanes let run, so that no place waits for one.
    std::shared_ptr<MemoryBudget> body_memory;
    std::shared_ptr<MemoryBudget> buffer_memory;  ///< Read buffers and answers: only counted.

    std::atomic<bool> draining{false};
    std::atomic<std::uint64_t> connections_total{0};
    std::atomic<std::uint64_t> connections_refused{0};
    std::atomic<std::uint64_t> connections_evicted{0};
    std::atomic<std::uint64_t> requests_total{0};
    std::atomic<std::uint64_t> requests_running{0};

    /// Counts an opened or closed connection; wakes who waits for none to be left.
    std::uint64_t connection_opened();
    void connection_closed();
    std::uint64_t connections_open() const;
    /// kTimeout when `deadline` passes with connections open.
    Result<> wait_until_closed(SteadyNanos deadline);

private:
    mutable Mutex mutex_;
    CondVar changed_;
    std::uint64_t open_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
