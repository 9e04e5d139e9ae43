#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/random.h"
#include "common/result.h"
#include "net/http.h"

namespace molesignal {

/// Every limit and time-out of the engine; the setting is `http.<name>` for each.
struct HttpServerOptions {
    std::vector<std::string> listen = {"127.0.0.1:0"};  ///< "ip:port" or "[ip6]:port"; port 0: any.
    std::size_t io_threads = 2;
    std::size_t handler_threads_max = 64;
    std::size_t handler_queue_requests_max = 1024;  ///< Waiting for a handler thread; beyond: 503.
    std::size_t connections_max = 10'000;           ///< Beyond: 503 with Retry-After, then closed.
    std::size_t url_bytes_max = 16 << 10;           ///< Beyond: 414.
    std::size_t header_bytes_max = 16 << 10;        ///< Beyond: 431.
    std::size_t body_bytes_max = 32 << 20;          ///< On the wire and decoded, each. Beyond: 413.
    std::int64_t inflight_body_bytes_max = 256 << 20;  ///< Bodies of all requests. Beyond: 503.
    std::int64_t header_timeout_ms = 10'000;  ///< From the first byte to the end of the head: 408.
    std::int64_t body_idle_timeout_ms = 30'000;  ///< Between two reads of a body: 408.
    std::int64_t keepalive_timeout_ms = 75'000;  ///< Between two requests: closed.
    std::int64_t write_timeout_ms = 30'000;      ///< Without progress of a write: closed.
    std::int64_t retry_after_seconds = 1;        ///< Sent with every 503 of the engine.
    std::size_t compress_bytes_min = 1024;       ///< Smaller answers are not compressed.
    std::string thread_name = "http";            ///< Prefix of the thread names, at most 11 chars.
    std::shared_ptr<MemoryBudget> memory = {};   ///< Parent of the in-flight budget; may be null.
};

/// One answered request, for access logs and metrics.
struct HttpAccessRecord {
    std::string_view method;  ///< Empty if the head could not be parsed.
    std::string_view path;
    std::string_view route;  ///< As the handler set it; empty for answers of the engine itself.
    std::string_view request_id;
    std::string_view remote_address;
    std::size_t listener = 0;
    int status = 0;
    bool complete = true;  ///< False: the client went away or the stream failed.
    std::uint64_t request_body_wire_bytes = 0;
    std::uint64_t response_body_wire_bytes = 0;
    std::chrono::nanoseconds duration{0};  ///< From the complete head to the last byte written.
};

/// Called on I/O threads: must be quick, thread-safe and not throw. Unset ones are skipped.
struct HttpHooks {
    std::function<void(const HttpAccessRecord&)> on_answer;
};

struct HttpServerStats {
    std::uint64_t connections_open = 0;
    std::uint64_t connections_total = 0;
    std::uint64_t connections_refused = 0;  ///< Over connections_max.
    std::uint64_t requests_total = 0;       ///< Answered, also with errors of the engine.
    std::uint64_t requests_running = 0;     ///< Head received, answer not complete.
    std::int64_t inflight_body_bytes = 0;
};

/// An HTTP/1.1 server: parses, limits, decodes, calls the handler on a pool thread, answers.
///
/// All methods may be called from any thread except the server's own.
class HttpServer {
public:
    virtual ~HttpServer() = default;

    /// Binds all addresses and starts to serve. `clock` and `random` must outlive the server.
    /// kInvalidArgument: an address or limit; kUnavailable: cannot bind.
    static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options,
                                                     HttpHandler handler,
                                                     HttpHooks hooks,
                                                     Clock& clock,
                                                     Random& random);

    /// "ip:port" of each listener, in the order of HttpServerOptions::listen.
    virtual const std::vector<std::string>& addresses() const = 0;

    /// Closes the listening sockets; what is connected goes on. Idempotent.
    virtual void stop_accepting() = 0;

    /// Stops accepting, closes idle connections, answers what is in flight with `Connection: close`
    /// and returns when no connection is left. kTimeout: `deadline` passed first (call `stop`).
    virtual Result<> drain(SteadyNanos deadline) = 0;

    /// Cuts all connections, cancels their requests, waits for running handlers. Idempotent; the
    /// destructor calls it.
    virtual void stop() = 0;

    virtual HttpServerStats stats() const = 0;
};

}  // namespace molesignal
