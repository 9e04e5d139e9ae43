#include "net/http_connection.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <tuple>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/assert.h"
#include "net/http_connection_limits.h"

namespace molesignal {
namespace {

namespace asio = boost::asio;

constexpr std::int64_t kLingerMs = 2'000;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

std::string text_of(const asio::ip::tcp::endpoint& endpoint) {
    const auto address = endpoint.address();
    return address.is_v6() ? fmt::format("[{}]:{}", address.to_string(), endpoint.port())
                           : fmt::format("{}:{}", address.to_string(), endpoint.port());
}

/// A client whose machine is gone without a word is noticed after two minutes.
void enable_keepalive(int socket) {
    constexpr int kOn = 1;
    constexpr int kIdleSeconds = 60;
    constexpr int kIntervalSeconds = 10;
    constexpr int kProbes = 6;
    ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof kOn);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdleSeconds, sizeof kIdleSeconds);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &kIntervalSeconds, sizeof kIntervalSeconds);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof kProbes);
}

/// Whether the other side has closed, also while bytes of it are unread.
bool peer_has_closed(int socket) {
    pollfd entry{.fd = socket, .events = POLLRDHUP, .revents = 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

// Coroutines take the exchange by reference: it lives in the frame of serve_one, which awaits them.
// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)

HttpConnection::HttpConnection(
    HttpEngine& engine, HttpLoop& loop, Socket socket, std::size_t listener, Admission admission)
    : engine_(engine),
      loop_(loop),
      socket_(std::move(socket)),
      listener_(listener),
      admission_(admission),
      idle_entry_{this},
      idle_position_(idle_entry_.begin()),
      in_memory_(engine.buffer_memory),
      pace_(std::chrono::milliseconds(engine.options.write_timeout_ms),
            engine.options.write_bytes_per_second_min),
      signal_timer_(loop.context) {
    boost::system::error_code error;
    const auto remote = socket_.remote_endpoint(error);
    remote_address_ = error ? std::string("unknown") : text_of(remote);
    std::ignore = socket_.set_option(asio::ip::tcp::no_delay(true), error);
    enable_keepalive(socket_.native_handle());
}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
    asio::co_spawn(loop_.context, run(shared_from_this()), end_on_exception);
}

HttpConnection::Awaitable<void> HttpConnection::run(std::shared_ptr<HttpConnection> self) {
    if (self->loop_.stopping) {
        self->engine_.connection_closed();
        co_return;
    }
    self->loop_.connections.insert(self.get());
    if (self->admission_ == Admission::kRefuse) {
        co_await self->refuse_connection();
    } else {
        while (co_await self->serve_one()) {
        }
    }
    boost::system::error_code error;
    std::ignore = self->socket_.close(error);
    self->cancel_.cancel();
    self->loop_.connections.erase(self.get());
    self->engine_.connection_closed();
}

void HttpConnection::check(SteadyNanos now) {
    if (phase_ == Phase::kWork && reading_is_paused() && peer_has_closed(socket_.native_handle())) {
        note_input_end();
        signal_timer_.cancel();
    }
    if (deadline_ > now) {
        return;
    }
    deadline_ = SteadyNanos::never();
    timed_out_ = true;
    signal_timer_.cancel();
    boost::system::error_code error;
    std::ignore = socket_.cancel(error);
}

void HttpConnection::close_if_idle() {
    if (phase_ == Phase::kIdle) {
        boost::system::error_code error;
        std::ignore = socket_.cancel(error);
    }
}

void HttpConnection::evict() {
    MS_ASSERT(phase_ == Phase::kIdle);
    evicted_ = true;
    unmark_idle();
    close_if_idle();
}

void HttpConnection::abort() {
    gone_ = true;
    cancel_.cancel();
    signal_timer_.cancel();
    boost::system::error_code error;
    std::ignore = socket_.close(error);
}

void HttpConnection::mark_idle() {
    loop_.idle.splice(loop_.idle.end(), idle_entry_);
    loop_.idle_count.store(loop_.idle.size(), std::memory_order_relaxed);
}

void HttpConnection::unmark_idle() {
    if (idle_entry_.empty()) {
        idle_entry_.splice(idle_entry_.end(), loop_.idle, idle_position_);
        loop_.idle_count.store(loop_.idle.size(), std::memory_order_relaxed);
    }
}

void HttpConnection::note_input_end() {
    input_ended_ = true;
    cancel_.cancel();
}

bool HttpConnection::reading_is_paused() const {
    return !input_ended_ && in_end_ - in_begin_ >= kPipelinedBytesMax;
}

void HttpConnection::set_deadline(std::int64_t timeout_ms) {
    timed_out_ = false;
    deadline_ = engine_.clock.steady_now() + std::chrono::milliseconds(timeout_ms);
}

void HttpConnection::make_room(std::size_t bytes) {
    if (in_.size() - in_end_ >= bytes) {
        return;
    }
    if (in_begin_ > 0) {
        std::copy(in_.data() + in_begin_, in_.data() + in_end_, in_.data());
        in_end_ -= in_begin_;
        in_begin_ = 0;
    }
    if (in_.size() - in_end_ < bytes) {
        in_.resize(in_end_ + bytes);
        in_memory_.force_resize(static_cast<std::int64_t>(in_.capacity()));
    }
}

HttpConnection::Awaitable<bool> HttpConnection::read_more(std::size_t bytes_max) {
    if (input_ended_) {
        co_return false;
    }
    make_room(bytes_max);
    const auto room = asio::buffer(in_.data() + in_end_, bytes_max);
    const auto [error, size] = co_await socket_.async_read_some(room, kToken);
    if (error) {
        // Asio reports the end of input once; another read would wait for an event that never
        // comes.
        if (error != asio::error::operation_aborted) {
            note_input_end();
        }
        co_return false;
    }
    in_end_ += size;
    co_return true;
}

HttpConnection::Awaitable<bool> HttpConnection::write_all(std::string_view first,
                                                          std::string_view second) {
    phase_ = Phase::kWrite;
    while (!first.empty() || !second.empty()) {
        const auto began = engine_.clock.steady_now();
        if ((gone_ && !socket_.is_open()) || began >= transfer_by_) {
            gone_ = true;
            co_return false;
        }
        timed_out_ = false;
        deadline_ = std::min(pace_.deadline(began), transfer_by_);
        const std::array<asio::const_buffer, 2> parts = {
            asio::buffer(first.data(), first.size()), asio::buffer(second.data(), second.size())};
        const auto [error, size] = co_await socket_.async_write_some(parts, kToken);
        deadline_ = SteadyNanos::never();
        if (error) {
            gone_ = true;
            co_return false;
        }
        pace_.moved(engine_.clock.steady_now() - began, size);
        const auto of_first = std::min(size, first.size());
        first.remove_prefix(of_first);
        second.remove_prefix(size - of_first);
    }
    co_return true;
}

HttpConnection::Awaitable<void> HttpConnection::linger() {
    // Closing with unread input would reset the connection and may destroy the answer on its way.
    phase_ = Phase::kLinger;
    boost::system::error_code error;
    std::ignore = socket_.shutdown(Socket::shutdown_send, error);
    if (error) {
        co_return;
    }
    set_deadline(kLingerMs);
    in_begin_ = in_end_ = 0;
    while (!timed_out_ && co_await read_more(kBodyReadBytesMax)) {
        in_begin_ = in_end_ = 0;
        if (engine_.clock.steady_now() >= deadline_) {
            break;
        }
    }
}

HttpConnection::Step HttpConnection::answer_with(Exchange& exchange, HttpResponse response) {
    MS_ASSERT(!response.stream);
    auto& terms = exchange.terms;
    const auto& framing = exchange.head.framing;
    terms.coding = ContentCoding::kIdentity;
    terms.keep_alive = terms.keep_alive && !engine_.draining.load(std::memory_order_acquire);
    if (exchange.body == Body::kUnknown) {
        terms.keep_alive = false;
    } else if (exchange.body == Body::kUnread && framing.kind != BodyFraming::Kind::kNone) {
        // A small body comes anyway; whether one follows after `Expect` cannot be told.
        const bool skips = framing.kind == BodyFraming::Kind::kLength &&
                           framing.length <= kSkippedBytesMax && !exchange.head.expect_continue;
        terms.keep_alive = terms.keep_alive && skips;
        exchange.unread_body_bytes = terms.keep_alive ? framing.length : 0;
    }
    exchange.answer.prepare(
        std::move(response), std::move(terms), engine_.options, engine_.clock.now());
    return Step::kAnswered;
}

HttpConnection::Step HttpConnection::refuse(Exchange& exchange, Refusal refusal) {
    auto response = HttpResponse::error(
        refusal.status, refusal.error, refusal.message, exchange.terms.request_id);
    if (refusal.status == 429 || refusal.status == 503) {
        response.set_header("Retry-After", std::to_string(engine_.options.retry_after_seconds));
    } else if (refusal.status == 415) {
        response.set_header("Accept-Encoding", std::string(kAcceptedCodings));
    }
    response.limit = refusal.limit;
    return answer_with(exchange, std::move(response));
}

HttpConnection::Awaitable<void> HttpConnection::refuse_connection() {
    Exchange exchange;
    exchange.began = engine_.clock.steady_now();
    exchange.terms.request_id = make_ulid(engine_.clock.now(), engine_.random);
    refuse(exchange,
           {.status = 503,
            .error = "unavailable",
            .message = fmt::format("too many connections: the limit is {} (http.connections_max)",
                                   engine_.options.connections_max),
            .limit = "http.connections_max"});
    co_await write_all(exchange.answer.head(), exchange.answer.piece());
    co_await linger();
}

HttpConnection::Awaitable<bool> HttpConnection::serve_one() {
    Exchange exchange;
    auto step = co_await read_head(exchange);
    if (step == Step::kClosed) {
        co_return false;
    }
    engine_.requests_running.fetch_add(1, std::memory_order_relaxed);
    exchange.began = engine_.clock.steady_now();
    exchange.method = exchange.request.method;
    exchange.path = exchange.request.path;
    if (step == Step::kGo) {
        step = co_await admit(exchange);
    }
    if (step == Step::kGo) {
        step = co_await read_body(exchange);
    }
    exchange.body_wire_bytes = exchange.request.body_wire_bytes;
    if (step == Step::kGo) {
        step = co_await handle(exchange);
    }
    const bool complete = step != Step::kClosed && co_await write_answer(exchange);
    exchange.pass.leave();
    finish(exchange, complete);
    served_one_ = true;
    const bool again = complete && !gone_ && !evicted_ && exchange.answer.keep_alive();
    if (again && exchange.unread_body_bytes > 0) {
        co_return co_await skip_body(exchange.unread_body_bytes);
    }
    if (complete && !again && !gone_) {
        co_await linger();
    }
    co_return again;
}

void HttpConnection::finish(Exchange& exchange, bool complete) {
    engine_.requests_running.fetch_sub(1, std::memory_order_relaxed);
    engine_.requests_total.fetch_add(1, std::memory_order_relaxed);
    if (!engine_.hooks.on_answer) {
        return;
    }
    constexpr int kClientClosed = 499;
    const auto& answer = exchange.answer;
    HttpAccessRecord record;
    record.method = exchange.method;
    record.path = exchange.path;
    record.route = answer.route();
    record.limit = answer.limit();
    record.request_id = answer.prepared() ? answer.request_id() : exchange.terms.request_id;
    record.remote_address = remote_address_;
    record.listener = listener_;
    record.status = answer.prepared() ? answer.status() : kClientClosed;
    record.complete = complete;
    record.request_body_wire_bytes = exchange.body_wire_bytes;
    record.response_body_wire_bytes = exchange.answer_bytes;
    record.duration =
        std::chrono::nanoseconds(engine_.clock.steady_now().value - exchange.began.value);
    engine_.hooks.on_answer(record);
}

// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace molesignal
