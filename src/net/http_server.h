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

/// A kind of requests with bounds of its own, so that one kind cannot take the threads of another.
struct HttpLaneOptions {
    std::string name = "requests";
    std::size_t running_max = 64;    ///< From the handler's start to the end of what it produces.
    std::size_t waiting_max = 1024;  ///< Beyond: 429 with Retry-After.
    std::int64_t waiting_ms_max = 30'000;  ///< Then 429 too.
    /// The bounds for people, with their settings, and the setting to count a refusal under.
    std::string bounds = "http.handler_threads_max run, http.handler_queue_requests_max wait";
    std::string setting = "http.handler_queue_requests_max";
};

/// Every limit and time-out of the engine; the setting is `http.<name>` for each.
struct HttpServerOptions {
    std::vector<std::string> listen = {"127.0.0.1:0"};  ///< "ip:port" or "[ip6]:port"; port 0: any.
    std::size_t io_threads = 2;
    std::vector<HttpLaneOptions> lanes = {HttpLaneOptions{}};
    /// At this many the connection that is idle longest makes room; if none is, a new one gets 503
    /// with Retry-After and is closed.
    std::size_t connections_max = 10'000;
    /// Descriptors the process may have; connections_max is lowered to what they allow. 0: no
    /// limit.
    std::size_t open_files_max = 0;
    std::size_t url_bytes_max = 16 << 10;     ///< Beyond: 414.
    std::size_t header_bytes_max = 16 << 10;  ///< Beyond: 431.
    std::size_t body_bytes_max = 32 << 20;    ///< On the wire and decoded, each. Beyond: 413.
    std::int64_t inflight_body_bytes_max = 256 << 20;  ///< Bodies of all requests. Beyond: 503.
    std::int64_t header_timeout_ms = 10'000;  ///< From the first byte to the end of the head: 408.
    /// In so much waiting for a body, body_bytes_per_second_min must have come; else 408.
    std::int64_t body_idle_timeout_ms = 30'000;
    std::int64_t body_bytes_per_second_min = 1024;
    std::int64_t body_timeout_ms = 300'000;      ///< From the head to the end of the body: 408.
    std::int64_t keepalive_timeout_ms = 75'000;  ///< Between two requests: closed.
    /// In so much waiting for a reader, write_bytes_per_second_min must have gone; else closed.
    std::int64_t write_timeout_ms = 30'000;
    std::int64_t write_bytes_per_second_min = 1024;
    std::int64_t retry_after_seconds = 1;       ///< Sent with every 429 and 503 of the engine.
    std::size_t compress_bytes_min = 1024;      ///< Smaller answers are not compressed.
    std::string thread_name = "http";           ///< Prefix of the thread names, at most 11 chars.
    std::shared_ptr<MemoryBudget> memory = {};  ///< Counts buffers and answers; may be null.
    /// Bodies of all requests, of other protocols too; null: one of inflight_body_bytes_max.
    std::shared_ptr<MemoryBudget> body_memory = {};
};

/// Where a request goes, decided from its head.
struct HttpAdmission {
    enum class Verdict : std::uint8_t {
        kHandle = 0,    ///< Read the body and handle it in `lane`.
        kAnswer = 1,    ///< Send `answer`; the body is not read.
        kAskAgain = 2,  ///< Ask again in `lane`, where it may block.
    };
    Verdict verdict = Verdict::kHandle;
    std::size_t lane = 0;  ///< Index into HttpServerOptions::lanes.
    HttpResponse answer;
    std::shared_ptr<const HttpTicket> ticket;  ///< For the handler.
};

enum class HttpMayBlock : std::uint8_t { kNo = 0, kYes = 1 };

/// One answered request, for access logs and metrics.
struct HttpAccessRecord {
    std::string_view method;  ///< Empty if the head could not be parsed.
    std::string_view path;
    std::string_view route;  ///< As the handler set it; empty for answers of the engine itself.
    std::string_view request_id;
    std::string_view remote_address;
    std::size_t listener = 0;
    int status = 0;
    std::string_view limit;  ///< The setting of the limit that refused the request, if one did.
    bool complete = true;    ///< False: the client went away or the stream failed.
    std::uint64_t request_body_wire_bytes = 0;
    std::uint64_t response_body_wire_bytes = 0;
    std::chrono::nanoseconds duration{0};  ///< From the complete head to the last byte written.
};

/// Thread-safe and must not throw. Unset ones are skipped.
struct HttpHooks {
    /// Called with the complete head (`body` is empty), before any of the body is read and any
    /// memory is taken for it: first on an I/O thread, where it must be quick, and if it answers
    /// kAskAgain once more on a pool thread. Unset: everything is handled in lane 0.
    std::function<HttpAdmission(const RequestContext&, const HttpRequest&, HttpMayBlock)> admit;
    /// Called on I/O threads: must be quick.
    std::function<void(const HttpAccessRecord&)> on_answer;
};

struct HttpLaneStats {
    std::string name;
    std::uint64_t running = 0;
    std::uint64_t waiting = 0;
};

struct HttpServerStats {
    std::uint64_t connections_open = 0;
    std::uint64_t connections_idle = 0;  ///< Those that wait for a request.
    std::uint64_t connections_total = 0;
    std::uint64_t connections_refused = 0;  ///< Over connections_max.
    std::uint64_t connections_evicted = 0;  ///< Idle ones that made room for new ones.
    std::uint64_t requests_total = 0;       ///< Answered, also with errors of the engine.
    std::uint64_t requests_running = 0;     ///< Head received, answer not complete.
    std::int64_t inflight_body_bytes = 0;
    std::vector<HttpLaneStats> lanes;
};

/// An HTTP/1.1 server: parses, limits, decodes, calls the handler on a pool thread, answers.
///
/// All methods may be called from any thread except the server's own.
class HttpServer {
public:
    virtual ~HttpServer() = default;

    /// Binds all addresses and starts to serve. `clock` and `random` must outlive the server.
    /// kInvalidArgument: an address, lane or limit; kUnavailable: cannot bind.
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

    /// What counts the bodies of all requests; other protocols count theirs on it too.
    virtual const std::shared_ptr<MemoryBudget>& body_memory() const = 0;
};

}  // namespace molesignal
