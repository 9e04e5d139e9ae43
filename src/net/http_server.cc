#include "net/http_server.h"

#include <algorithm>
#include <future>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <pthread.h>

#include "common/log.h"
#include "net/http_connection.h"
#include "net/http_engine.h"

namespace molesignal {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::uint64_t kRefusalsMax =
    256;  // Connections kept to tell clients that there are too many.
constexpr std::chrono::milliseconds kAcceptPause{100};

std::string text_of(const tcp::endpoint& endpoint) {
    const auto address = endpoint.address();
    return address.is_v6() ? fmt::format("[{}]:{}", address.to_string(), endpoint.port())
                           : fmt::format("{}:{}", address.to_string(), endpoint.port());
}

Result<tcp::endpoint> parse_endpoint(std::string_view text) {
    const auto colon = text.rfind(':');
    auto host = text.substr(0, colon == std::string_view::npos ? 0 : colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    }
    boost::system::error_code error;
    const auto address = asio::ip::make_address(host, error);
    unsigned port = 65536;
    const auto digits = text.substr(std::min(colon, text.size() - 1) + 1);
    if (!digits.empty() && digits.size() <= 5 &&
        std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) {
        port = static_cast<unsigned>(std::stoul(std::string(digits)));
    }
    if (error || port > 65535) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format("'{}' is not an address to listen on, such as 127.0.0.1:5080 or [::1]:0",
                        text));
    }
    return tcp::endpoint(address, static_cast<std::uint16_t>(port));
}

Result<> validate(const HttpServerOptions& options) {
    struct Check {
        std::string_view name;
        std::int64_t value;
    };
    const auto number = [](std::size_t value) { return static_cast<std::int64_t>(value); };
    const std::array checks = {
        Check{"io_threads", number(options.io_threads)},
        Check{"connections_max", number(options.connections_max)},
        Check{"url_bytes_max", number(options.url_bytes_max)},
        Check{"header_bytes_max", number(options.header_bytes_max)},
        Check{"body_bytes_max", number(options.body_bytes_max)},
        Check{"inflight_body_bytes_max", options.inflight_body_bytes_max},
        Check{"header_timeout_ms", options.header_timeout_ms},
        Check{"body_idle_timeout_ms", options.body_idle_timeout_ms},
        Check{"body_timeout_ms", options.body_timeout_ms},
        Check{"keepalive_timeout_ms", options.keepalive_timeout_ms},
        Check{"write_timeout_ms", options.write_timeout_ms},
    };
    for (const auto& check : checks) {
        if (check.value <= 0) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("http.{} must be positive, not {}", check.name, check.value));
        }
    }
    if (options.lanes.empty() ||
        std::ranges::any_of(options.lanes, [](const HttpLaneOptions& lane) {
            return lane.running_max == 0 || lane.waiting_ms_max <= 0;
        })) {
        return Error(ErrorCode::kInvalidArgument, "every lane must let at least one request run");
    }
    if (options.listen.empty()) {
        return Error(ErrorCode::kInvalidArgument, "http.listen names no address");
    }
    return {};
}

/// Connections need descriptors, and so do the log, parts and the catalogue.
void fit_to_descriptors(HttpServerOptions& options) {
    if (options.open_files_max == 0) {
        return;
    }
    constexpr std::size_t kOtherFiles = 512;
    const auto others = std::min(kOtherFiles, options.open_files_max / 2);
    const auto most = std::max<std::size_t>(options.open_files_max - others, 1);
    if (options.connections_max > most) {
        log_warn("http.connections_max is lowered to what the limit of open files allows",
                 {{"http.connections_max", options.connections_max},
                  {"lowered_to", most},
                  {"RLIMIT_NOFILE", options.open_files_max}});
        options.connections_max = most;
    }
}

std::shared_ptr<MemoryBudget> make_budget(const HttpServerOptions& options,
                                          std::string name,
                                          std::string setting,
                                          std::int64_t bytes_max) {
    return options.memory
               ? options.memory->make_child(std::move(name), std::move(setting), bytes_max)
               : MemoryBudget::make_root(std::move(name), std::move(setting), bytes_max);
}

std::shared_ptr<MemoryBudget> make_body_memory(const HttpServerOptions& options) {
    return make_budget(
        options, "request bodies", "http.inflight_body_bytes_max", options.inflight_body_bytes_max);
}

std::size_t running_max(const std::vector<HttpLaneOptions>& lanes) {
    std::size_t sum = 0;
    for (const auto& lane : lanes) {
        sum += lane.running_max;
    }
    return sum;
}

class HttpServerImpl final : public HttpServer {
public:
    HttpServerImpl(HttpServerOptions options,
                   HttpHandler handler,
                   HttpHooks hooks,
                   Clock& clock,
                   Random& random)
        : engine_(std::move(options), std::move(handler), std::move(hooks), clock, random) {
        const auto& set = engine_.options;
        auto shortest = std::min({set.header_timeout_ms,
                                  set.body_idle_timeout_ms,
                                  set.body_timeout_ms,
                                  set.keepalive_timeout_ms,
                                  set.write_timeout_ms});
        for (const auto& lane : set.lanes) {
            shortest = std::min(shortest, lane.waiting_ms_max);
        }
        sweep_interval_ =
            std::chrono::milliseconds(std::clamp<std::int64_t>(shortest / 10, 5, 1000));
        for (std::size_t i = 0; i < set.io_threads; ++i) {
            loops_.push_back(std::make_unique<HttpLoop>());
        }
    }

    ~HttpServerImpl() override { stop(); }

    Result<> listen() {
        for (const auto& text : engine_.options.listen) {
            MS_TRY(const auto endpoint, parse_endpoint(text));
            boost::system::error_code error;
            auto acceptor = std::make_unique<tcp::acceptor>(loops_.front()->context);
            acceptor->open(endpoint.protocol(), error);
            if (!error) {
                acceptor->set_option(tcp::acceptor::reuse_address(true), error);
            }
            if (!error) {
                acceptor->bind(endpoint, error);
            }
            if (!error) {
                acceptor->listen(asio::socket_base::max_listen_connections, error);
            }
            if (error) {
                return Error(ErrorCode::kUnavailable,
                             fmt::format("cannot listen on {}: {}", text, error.message()));
            }
            addresses_.push_back(text_of(acceptor->local_endpoint()));
            acceptors_.push_back(std::move(acceptor));
        }
        return {};
    }

    void run() {
        for (std::size_t i = 0; i < acceptors_.size(); ++i) {
            asio::co_spawn(loops_.front()->context, accept(*acceptors_[i], i), end_on_exception);
        }
        for (std::size_t i = 0; i < loops_.size(); ++i) {
            auto& loop = *loops_[i];
            const auto name = fmt::format("{}-io{}", engine_.options.thread_name.substr(0, 11), i);
            loop.thread = std::thread([&loop, name] {
                ::pthread_setname_np(::pthread_self(), name.c_str());
                loop.context.run();
            });
        }
    }

    const std::vector<std::string>& addresses() const override { return addresses_; }

    void stop_accepting() override {
        const MutexLock lock(mutex_);
        if (stopped_ || !accepting_) {
            return;
        }
        accepting_ = false;
        on_loop(*loops_.front(), [this] {
            for (auto& acceptor : acceptors_) {
                boost::system::error_code error;
                acceptor->close(error);
            }
        });
    }

    Result<> drain(SteadyNanos deadline) override {
        engine_.draining.store(true, std::memory_order_release);
        stop_accepting();
        for (auto& loop : loops_) {
            asio::post(loop->context, [&connections = loop->connections] {
                for (auto* connection : connections) {
                    connection->close_if_idle();
                }
            });
        }
        return engine_.wait_until_closed(deadline);
    }

    void stop() override {
        stop_accepting();
        {
            const MutexLock lock(mutex_);
            if (stopped_) {
                return;
            }
            stopped_ = true;
        }
        engine_.draining.store(true, std::memory_order_release);
        for (auto& loop : loops_) {
            on_loop(*loop, [&loop = *loop] {
                for (auto* connection : loop.connections) {
                    connection->abort();
                }
            });
        }
        engine_.pool.stop();
        for (auto& loop : loops_) {
            asio::post(loop->context, [&loop = *loop] {
                loop.stopping = true;
                loop.sweeper.cancel();
                for (auto* connection : loop.connections) {
                    connection->abort();
                }
            });
            loop->work.reset();
            if (loop->thread.joinable()) {
                loop->thread.join();
            }
        }
    }

    HttpServerStats stats() const override {
        HttpServerStats stats;
        stats.connections_open = engine_.connections_open();
        for (const auto& loop : loops_) {
            stats.connections_idle += loop->idle_count.load(std::memory_order_relaxed);
        }
        stats.connections_total = engine_.connections_total.load(std::memory_order_relaxed);
        stats.connections_refused = engine_.connections_refused.load(std::memory_order_relaxed);
        stats.requests_total = engine_.requests_total.load(std::memory_order_relaxed);
        stats.requests_running = engine_.requests_running.load(std::memory_order_relaxed);
        stats.connections_evicted = engine_.connections_evicted.load(std::memory_order_relaxed);
        stats.inflight_body_bytes = engine_.body_memory->used_bytes();
        for (const auto& lane : engine_.lanes) {
            stats.lanes.push_back(lane->stats());
        }
        return stats;
    }

    const std::shared_ptr<MemoryBudget>& body_memory() const override {
        return engine_.body_memory;
    }

private:
    /// Runs `work` on the loop's thread and waits for it.
    static void on_loop(HttpLoop& loop, const std::function<void()>& work) {
        if (!loop.thread.joinable()) {
            work();
            return;
        }
        std::promise<void> done;
        asio::post(loop.context, [&] {
            work();
            done.set_value();
        });
        done.get_future().wait();
    }

    asio::awaitable<void> accept(tcp::acceptor& acceptor, std::size_t listener) {
        asio::steady_timer pause(loops_.front()->context);
        while (acceptor.is_open()) {
            auto& loop = *loops_[next_loop_++ % loops_.size()];
            auto [error, socket] = co_await acceptor.async_accept(loop.context, kToken);
            if (!error) {
                admit(std::move(socket), loop, listener);
            } else if (acceptor.is_open() && error != asio::error::operation_aborted) {
                // Out of descriptors or memory: trying at once again would spin.
                pause.expires_after(kAcceptPause);
                co_await pause.async_wait(kToken);
            }
        }
    }

    void admit(tcp::socket socket, HttpLoop& loop, std::size_t listener) {
        const auto open = engine_.connection_opened();
        const auto& options = engine_.options;
        if (open <= options.connections_max) {
            serve(std::move(socket), loop, listener, HttpConnection::Admission::kServe);
            return;
        }
        // The loop with most idle connections is asked for one of them; only it can tell.
        auto& idle_loop = **std::ranges::max_element(loops_, {}, [](const auto& each) {
            return each->idle_count.load(std::memory_order_relaxed);
        });
        if (idle_loop.idle_count.load(std::memory_order_relaxed) == 0 &&
            open > options.connections_max + kRefusalsMax) {
            engine_.connections_refused.fetch_add(1, std::memory_order_relaxed);
            engine_.connection_closed();
            return;
        }
        boost::system::error_code error;
        const auto protocol = socket.local_endpoint(error).protocol();
        const auto handle = socket.release(error);
        tcp::socket moved(idle_loop.context, protocol, handle);
        asio::post(idle_loop.context,
                   [this, &idle_loop, listener, socket = std::move(moved)]() mutable {
                       serve(std::move(socket), idle_loop, listener, make_place(idle_loop));
                   });
    }

    /// Closes the connection of `loop` that is idle longest, for a new one.
    HttpConnection::Admission make_place(HttpLoop& loop) {
        if (loop.idle.empty()) {
            engine_.connections_refused.fetch_add(1, std::memory_order_relaxed);
            return HttpConnection::Admission::kRefuse;
        }
        engine_.connections_evicted.fetch_add(1, std::memory_order_relaxed);
        loop.idle.front()->evict();
        return HttpConnection::Admission::kServe;
    }

    void serve(tcp::socket socket,
               HttpLoop& loop,
               std::size_t listener,
               HttpConnection::Admission admission) {
        auto connection =
            std::make_shared<HttpConnection>(engine_, loop, std::move(socket), listener, admission);
        asio::post(loop.context, [this, connection = std::move(connection), &loop] {
            connection->start();
            sweep_later(loop);
        });
    }

    /// One timer per loop looks at all deadlines: cheaper than a timer per operation.
    void sweep_later(HttpLoop& loop) {
        if (loop.sweeping) {
            return;
        }
        loop.sweeping = true;
        loop.sweeper.expires_after(sweep_interval_);
        loop.sweeper.async_wait([this, &loop](boost::system::error_code error) {
            loop.sweeping = false;
            const auto now = engine_.clock.steady_now();
            for (auto* connection : loop.connections) {
                connection->check(now);
            }
            if (!error && !loop.stopping && !loop.connections.empty()) {
                sweep_later(loop);
            }
        });
    }

    HttpEngine engine_;
    std::chrono::milliseconds sweep_interval_{1000};
    std::vector<std::unique_ptr<HttpLoop>> loops_;
    std::vector<std::unique_ptr<tcp::acceptor>> acceptors_;
    std::vector<std::string> addresses_;
    std::size_t next_loop_ = 0;  // Only on the first loop.
    Mutex mutex_;
    bool accepting_ MS_GUARDED_BY(mutex_) = true;
    bool stopped_ MS_GUARDED_BY(mutex_) = false;
};

}  // namespace

HttpEngine::HttpEngine(HttpServerOptions server_options,
                       HttpHandler request_handler,
                       HttpHooks server_hooks,
                       Clock& server_clock,
                       Random& server_random)
    : options(std::move(server_options)),
      handler(std::move(request_handler)),
      hooks(std::move(server_hooks)),
      clock(server_clock),
      random(server_random),
      // Never full: a connection has at most one task here.
      pool({.name = options.thread_name,
            .threads_max = running_max(options.lanes),
            .queue_tasks_max = options.connections_max + kRefusalsMax,
            .setting = "http.connections_max"}),
      body_memory(options.body_memory ? options.body_memory : make_body_memory(options)),
      buffer_memory(make_budget(options, "connection buffers", "http.connections_max", INT64_MAX)) {
    for (const auto& lane : options.lanes) {
        lanes.push_back(std::make_unique<HttpLane>(lane));
    }
}

std::uint64_t HttpEngine::connection_opened() {
    connections_total.fetch_add(1, std::memory_order_relaxed);
    const MutexLock lock(mutex_);
    return ++open_;
}

void HttpEngine::connection_closed() {
    const MutexLock lock(mutex_);
    --open_;
    changed_.notify_all();
}

std::uint64_t HttpEngine::connections_open() const {
    const MutexLock lock(mutex_);
    return open_;
}

Result<> HttpEngine::wait_until_closed(SteadyNanos deadline) {
    const MutexLock lock(mutex_);
    while (open_ > 0) {
        if (clock.steady_now() >= deadline) {
            return Error(ErrorCode::kTimeout, fmt::format("{} connections are still open", open_));
        }
        clock.wait_until(mutex_, changed_, deadline);
    }
    return {};
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(
    HttpServerOptions options, HttpHandler handler, HttpHooks hooks, Clock& clock, Random& random) {
    MS_TRY_VOID(validate(options));
    fit_to_descriptors(options);
    auto server = std::make_unique<HttpServerImpl>(
        std::move(options), std::move(handler), std::move(hooks), clock, random);
    MS_TRY_VOID(server->listen());
    server->run();
    return Result<std::unique_ptr<HttpServer>>(std::move(server));
}

}  // namespace molesignal
