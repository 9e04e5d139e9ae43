#include "net/http_connection.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <tuple>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include "common/assert.h"
#include "net/compression.h"

namespace molesignal {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kIdleBufferBytes = 4 << 10;
constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::size_t kPipelinedBytesMax = 64 << 10;
constexpr std::size_t kRequestLineSlackBytes = 64;  // Method and version beside the URL.
constexpr std::int64_t kLingerMs = 2'000;
constexpr std::size_t kRequestIdBytesMax = 128;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// A client's request id is kept if it cannot break a header, a log line or a label.
bool acceptable_request_id(std::string_view id) {
    return !id.empty() && id.size() <= kRequestIdBytesMax &&
           std::ranges::all_of(id, [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string text_of(const asio::ip::tcp::endpoint& endpoint) {
    const auto address = endpoint.address();
    return address.is_v6() ? fmt::format("[{}]:{}", address.to_string(), endpoint.port())
                           : fmt::format("{}:{}", address.to_string(), endpoint.port());
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
      work_signal_(loop.context) {
    boost::system::error_code error;
    const auto remote = socket_.remote_endpoint(error);
    remote_address_ = error ? std::string("unknown") : text_of(remote);
    std::ignore = socket_.set_option(asio::ip::tcp::no_delay(true), error);
}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
    asio::co_spawn(loop_.context, run(shared_from_this()), asio::detached);
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

void HttpConnection::check_deadline(SteadyNanos now) {
    if (deadline_ > now) {
        return;
    }
    deadline_ = SteadyNanos::never();
    timed_out_ = true;
    boost::system::error_code error;
    std::ignore = socket_.cancel(error);
}

void HttpConnection::close_if_idle() {
    if (phase_ == Phase::kIdle) {
        boost::system::error_code error;
        std::ignore = socket_.cancel(error);
    }
}

void HttpConnection::abort() {
    gone_ = true;
    cancel_.cancel();
    boost::system::error_code error;
    std::ignore = socket_.close(error);
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
            input_ended_ = true;
            cancel_.cancel();
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
        if (gone_ && !socket_.is_open()) {
            co_return false;
        }
        set_deadline(engine_.options.write_timeout_ms);
        const std::array<asio::const_buffer, 2> parts = {
            asio::buffer(first.data(), first.size()), asio::buffer(second.data(), second.size())};
        const auto [error, size] = co_await socket_.async_write_some(parts, kToken);
        if (error) {
            gone_ = true;
            co_return false;
        }
        const auto of_first = std::min(size, first.size());
        first.remove_prefix(of_first);
        second.remove_prefix(size - of_first);
    }
    deadline_ = SteadyNanos::never();
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
    while (!timed_out_ && co_await read_more(kReadBytes)) {
        in_begin_ = in_end_ = 0;
        if (engine_.clock.steady_now() >= deadline_) {
            break;
        }
    }
}

HttpConnection::Step HttpConnection::refuse(Exchange& exchange,
                                            int status,
                                            std::string_view error,
                                            std::string_view message) {
    auto response = HttpResponse::error(status, error, message, exchange.request.request_id);
    if (status == 503) {
        response.set_header("Retry-After", std::to_string(engine_.options.retry_after_seconds));
    } else if (status == 415) {
        response.set_header("Accept-Encoding", std::string(kAcceptedCodings));
    }
    auto terms = AnswerTerms::from(exchange.head, exchange.request.request_id);
    terms.keep_alive = false;
    terms.coding = ContentCoding::kIdentity;
    exchange.answer.prepare(
        std::move(response), std::move(terms), engine_.options, engine_.clock.now());
    return Step::kRefused;
}

HttpConnection::Awaitable<void> HttpConnection::refuse_connection() {
    Exchange exchange;
    exchange.began = engine_.clock.steady_now();
    exchange.request.request_id = make_ulid(engine_.clock.now(), engine_.random);
    refuse(exchange,
           503,
           "unavailable",
           fmt::format("too many connections: the limit is {} (http.connections_max)",
                       engine_.options.connections_max));
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
    if (step == Step::kGo) {
        step = co_await read_body(exchange);
    }
    exchange.body_wire_bytes = exchange.request.body_wire_bytes;
    exchange.request_id = exchange.request.request_id;
    exchange.method = exchange.request.method;
    exchange.path = exchange.request.path;
    bool complete = false;
    if (step != Step::kClosed) {
        if (step == Step::kGo) {
            co_await handle(exchange);
        }
        complete = co_await write_answer(exchange);
    }
    finish(exchange, complete);
    const bool again = complete && !gone_ && exchange.answer.keep_alive();
    if (complete && !again && !gone_) {
        co_await linger();
    }
    served_one_ = true;
    co_return again;
}

void HttpConnection::finish(Exchange& exchange, bool complete) {
    engine_.requests_running.fetch_sub(1, std::memory_order_relaxed);
    engine_.requests_total.fetch_add(1, std::memory_order_relaxed);
    if (!engine_.hooks.on_answer) {
        return;
    }
    HttpAccessRecord record;
    record.method = exchange.method;
    record.path = exchange.path;
    record.route = exchange.answer.route();
    record.request_id = exchange.request_id;
    record.remote_address = remote_address_;
    record.listener = listener_;
    record.status = exchange.answer.status();
    record.complete = complete;
    record.request_body_wire_bytes = exchange.body_wire_bytes;
    record.response_body_wire_bytes = exchange.answer_bytes;
    record.duration =
        std::chrono::nanoseconds(engine_.clock.steady_now().value - exchange.began.value);
    engine_.hooks.on_answer(record);
}

// --- Head
// -----------------------------------------------------------------------------------------

HttpConnection::Step HttpConnection::check_partial_head(Exchange& exchange,
                                                        std::size_t& scanned,
                                                        std::size_t& head_bytes) {
    const auto& options = engine_.options;
    // A robust server ignores empty lines before a request (RFC 9112 §2.2).
    while (scanned == 0 && unread().starts_with("\r\n")) {
        in_begin_ += 2;
    }
    const auto input = unread();
    if (!input.empty() && scanned == 0 && (input[0] < 'A' || input[0] > 'z') && input != "\r") {
        return refuse(exchange, 400, "bad_request", "not an HTTP/1.1 request");
    }
    const auto line_end = input.find('\n');
    const auto line_bytes = std::min(line_end, input.size());
    if (line_bytes > options.url_bytes_max + kRequestLineSlackBytes) {
        return refuse(exchange,
                      414,
                      "url_too_long",
                      fmt::format("the URL is longer than {} bytes (http.url_bytes_max)",
                                  options.url_bytes_max));
    }
    if (line_end != std::string_view::npos && (line_end == 0 || input[line_end - 1] != '\r')) {
        return refuse(exchange, 400, "bad_request", "the request line ends without CR");
    }
    const auto end = input.find("\r\n\r\n", scanned < 3 ? 0 : scanned - 3);
    scanned = input.size();
    const auto known = end == std::string_view::npos ? input.size() : end + 4;
    if (known - line_bytes > options.header_bytes_max + 4) {
        return refuse(exchange,
                      431,
                      "headers_too_large",
                      fmt::format("the headers are larger than {} bytes (http.header_bytes_max)",
                                  options.header_bytes_max));
    }
    head_bytes = end == std::string_view::npos ? 0 : end + 4;
    return Step::kGo;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_head(Exchange& exchange) {
    phase_ = Phase::kIdle;
    if (in_begin_ == in_end_ && in_.size() > kIdleBufferBytes) {
        std::string().swap(in_);
        in_begin_ = in_end_ = 0;
    }
    exchange.request.request_id = make_ulid(engine_.clock.now(), engine_.random);
    const auto& options = engine_.options;
    set_deadline(served_one_ ? options.keepalive_timeout_ms : options.header_timeout_ms);
    std::size_t scanned = 0;
    std::size_t head_bytes = 0;
    while (true) {
        if (in_begin_ != in_end_) {
            const auto step = check_partial_head(exchange, scanned, head_bytes);
            if (step != Step::kGo) {
                co_return step;
            }
            if (head_bytes > 0) {
                co_return accept_head(exchange, head_bytes);
            }
            if (phase_ == Phase::kIdle) {
                phase_ = Phase::kHead;
                set_deadline(options.header_timeout_ms);
            }
        } else if (engine_.draining.load(std::memory_order_acquire)) {
            // What has arrived already is answered; nothing else is waited for.
            make_room(kIdleBufferBytes);
            boost::system::error_code error;
            std::ignore = socket_.non_blocking(true, error);
            in_end_ +=
                socket_.read_some(asio::buffer(in_.data() + in_end_, kIdleBufferBytes), error);
            if (error) {
                co_return Step::kClosed;
            }
            continue;
        }
        const bool read = co_await read_more(kIdleBufferBytes);
        if (read && !timed_out_) {
            continue;
        }
        if (phase_ == Phase::kHead && timed_out_) {
            co_return refuse(
                exchange,
                408,
                "timeout",
                fmt::format("the request's head took longer than {} ms (http.header_timeout_ms)",
                            options.header_timeout_ms));
        }
        const bool drain_read = phase_ == Phase::kIdle && !timed_out_ && !gone_ &&
                                engine_.draining.load(std::memory_order_acquire);
        if (!drain_read) {
            co_return Step::kClosed;
        }
    }
}

HttpConnection::Step HttpConnection::accept_head(Exchange& exchange, std::size_t head_bytes) {
    phase_ = Phase::kBody;
    deadline_ = SteadyNanos::never();
    auto parsed = parse_request_head(unread().substr(0, head_bytes));
    in_begin_ += head_bytes;
    if (!parsed) {
        return refuse(exchange, 400, "bad_request", parsed.error().message());
    }
    exchange.head = *std::move(parsed);
    exchange.head_seen = true;
    auto& head = exchange.head;
    auto& request = exchange.request;
    const auto& options = engine_.options;
    if (const auto id = find_header(head.headers, "X-Request-Id");
        id.has_value() && acceptable_request_id(*id)) {
        request.request_id = std::string(*id);
    }
    request.method = head.method;
    if (head.target.size() > options.url_bytes_max) {
        return refuse(exchange,
                      414,
                      "url_too_long",
                      fmt::format("the URL has {} bytes, the limit is {} (http.url_bytes_max)",
                                  head.target.size(),
                                  options.url_bytes_max));
    }
    if (auto split = split_target(head.target, request); !split) {
        return refuse(exchange, 400, "bad_request", split.error().message());
    }
    const auto expect = find_header(head.headers, "Expect");
    if (expect.has_value() && !head.expect_continue && head.minor_version >= 1) {
        return refuse(
            exchange, 417, "expectation_failed", "only 'Expect: 100-continue' is supported");
    }
    if (head.framing.kind == BodyFraming::Kind::kLength &&
        head.framing.length > options.body_bytes_max) {
        return refuse_body_size(exchange);
    }
    request.target = head.target;
    request.remote_address = remote_address_;
    request.listener = listener_;
    request.cancel = cancel_;
    return Step::kGo;
}

// --- Body
// -----------------------------------------------------------------------------------------

HttpConnection::Step HttpConnection::refuse_body_size(Exchange& exchange) {
    return refuse(
        exchange,
        413,
        "body_too_large",
        fmt::format(
            "the request body is larger than {} bytes (http.body_bytes_max), which counts for what "
            "is sent and for what it decodes to",
            engine_.options.body_bytes_max));
}

HttpConnection::Step HttpConnection::reserve_body(Exchange& exchange, std::size_t bytes) {
    auto& body = exchange.request.body;
    const auto needed = body.size() + bytes + kBodyPaddingBytes;
    if (body.capacity() >= needed && exchange.reservation.bytes() > 0) {
        return Step::kGo;
    }
    const auto limit = engine_.options.body_bytes_max + kBodyPaddingBytes + 1;
    const auto doubled = body.empty() ? needed : std::min(body.capacity() * 2, limit);
    const auto capacity = std::max(needed, doubled);
    if (auto grown = exchange.reservation.grow(static_cast<std::int64_t>(capacity) -
                                               exchange.reservation.bytes());
        !grown) {
        return refuse(exchange, 503, "overloaded", grown.error().message());
    }
    body.reserve(capacity);
    return Step::kGo;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_body(Exchange& exchange) {
    auto& head = exchange.head;
    auto& request = exchange.request;
    std::string codings;
    for (const auto& header : head.headers) {
        if (equal_ignoring_case(header.name, "Content-Encoding")) {
            codings += codings.empty() ? header.value : ", " + header.value;
        }
    }
    request.headers = head.headers;
    const auto& framing = head.framing;
    if (framing.kind == BodyFraming::Kind::kNone ||
        (framing.kind == BodyFraming::Kind::kLength && framing.length == 0)) {
        request.body.reserve(kBodyPaddingBytes);
        co_return Step::kGo;
    }
    const auto coding = parse_content_coding(codings);
    if (!coding) {
        co_return refuse(exchange, 415, "unsupported_encoding", coding.error().message());
    }
    exchange.reservation = MemoryReservation(engine_.budget);
    const bool plain =
        *coding == ContentCoding::kIdentity && framing.kind == BodyFraming::Kind::kLength;
    if (reserve_body(exchange, plain ? framing.length : kIdleBufferBytes) == Step::kRefused) {
        co_return Step::kRefused;
    }
    if (head.expect_continue && unread().empty()) {
        if (!co_await write_all("HTTP/1.1 100 Continue\r\n\r\n", {})) {
            co_return Step::kClosed;
        }
    }
    phase_ = Phase::kBody;
    auto step = Step::kGo;
    if (plain) {
        step = co_await read_plain_body(exchange);
    } else {
        step = co_await read_coded_body(exchange, *coding);
    }
    deadline_ = SteadyNanos::never();
    if (step == Step::kClosed && timed_out_) {
        co_return refuse(exchange,
                         408,
                         "timeout",
                         fmt::format("no byte of the body for {} ms (http.body_idle_timeout_ms)",
                                     engine_.options.body_idle_timeout_ms));
    }
    co_return step;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_plain_body(
    Exchange& exchange) {
    auto& body = exchange.request.body;
    const std::size_t length = exchange.head.framing.length;
    const auto early = unread().substr(0, length);
    body.append(early);
    in_begin_ += early.size();
    std::size_t filled = body.size();
    while (filled < length) {
        // Growing step by step zeroes memory that is about to be written while it is in the cache.
        body.resize(std::min(length, std::max(body.size(), filled + kReadBytes)));
        set_deadline(engine_.options.body_idle_timeout_ms);
        const auto room = asio::buffer(body.data() + filled, body.size() - filled);
        const auto [error, size] = co_await socket_.async_read_some(room, kToken);
        exchange.request.body_wire_bytes = filled + size;
        if (error) {
            co_return Step::kClosed;
        }
        filled += size;
    }
    exchange.request.body_wire_bytes = length;
    co_return Step::kGo;
}

HttpConnection::Step HttpConnection::take_coded_piece(Exchange& exchange,
                                                      StreamDecoder& decoder,
                                                      Bytes piece) {
    while (true) {
        // Room is taken on the budget before the decoder writes, never afterwards.
        const auto step_bytes =
            std::clamp<std::size_t>(piece.size() * 8, kIdleBufferBytes, kReadBytes);
        if (reserve_body(exchange, step_bytes) == Step::kRefused) {
            return Step::kRefused;
        }
        const auto more = decoder.decode_some(piece, exchange.request.body, step_bytes);
        if (!more) {
            return more.error().code() == ErrorCode::kResourceExhausted
                       ? refuse_body_size(exchange)
                       : refuse(exchange, 400, "bad_request", more.error().message());
        }
        if (!*more) {
            return Step::kGo;
        }
    }
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_coded_body(
    Exchange& exchange, ContentCoding coding) {
    const auto& framing = exchange.head.framing;
    const bool chunked = framing.kind == BodyFraming::Kind::kChunked;
    auto& wire_bytes = exchange.request.body_wire_bytes;
    DecoderLimits limits{.bytes_max = engine_.options.body_bytes_max};
    const auto decoder = StreamDecoder::make(coding, std::move(limits));
    ChunkDecoder chunks;
    while (chunked ? !chunks.done() : wire_bytes < framing.length) {
        if (unread().empty()) {
            set_deadline(engine_.options.body_idle_timeout_ms);
            const std::size_t wanted = chunked ? in_.size() * 2 : framing.length - wire_bytes;
            if (!co_await read_more(std::clamp(wanted, kIdleBufferBytes, kReadBytes))) {
                co_return Step::kClosed;
            }
        }
        auto input = unread();
        const auto before = input.size();
        auto piece = input.substr(0, chunked ? input.size() : framing.length - wire_bytes);
        if (chunked) {
            auto next = chunks.next(input);
            if (!next) {
                co_return refuse(exchange, 400, "bad_request", next.error().message());
            }
            piece = *next;
            in_begin_ += before - input.size();
        } else {
            in_begin_ += piece.size();
        }
        wire_bytes += piece.size();
        if (wire_bytes > engine_.options.body_bytes_max) {
            co_return refuse_body_size(exchange);
        }
        if (piece.empty()) {
            continue;
        }
        if (const auto step = take_coded_piece(exchange, *decoder, as_bytes(piece));
            step != Step::kGo) {
            co_return step;
        }
    }
    if (auto ended = decoder->finish(); !ended) {
        co_return refuse(exchange, 400, "bad_request", ended.error().message());
    }
    co_return reserve_body(exchange, 0);
}

// --- Handler and answer
// -----------------------------------------------------------------------------

HttpConnection::Awaitable<bool> HttpConnection::run_on_pool(std::function<void()> work) {
    phase_ = Phase::kHandler;
    deadline_ = SteadyNanos::never();
    work_done_ = false;
    auto task = [self = shared_from_this(), work = std::move(work)] {
        work();
        asio::post(self->loop_.context, [self] {
            self->work_done_ = true;
            self->work_signal_.cancel();
            boost::system::error_code error;
            std::ignore = self->socket_.cancel(error);
        });
    };
    if (!engine_.pool.submit(std::move(task))) {
        work_done_ = true;
        co_return false;
    }
    // Reading ahead is how the end of the connection shows; what arrives is the next request.
    // A client that only ended its sending is answered all the same; a lost one fails the write.
    while (!work_done_ && !input_ended_ && !gone_ && in_end_ - in_begin_ < kPipelinedBytesMax) {
        co_await read_more(kIdleBufferBytes);
    }
    while (!work_done_) {
        work_signal_.expires_at(asio::steady_timer::time_point::max());
        co_await work_signal_.async_wait(kToken);
    }
    co_return true;
}

HttpConnection::Awaitable<void> HttpConnection::handle(Exchange& exchange) {
    auto terms = AnswerTerms::from(exchange.head, exchange.request.request_id);
    const bool draining = engine_.draining.load(std::memory_order_acquire);
    terms.keep_alive = terms.keep_alive && !draining;
    const auto& options = engine_.options;
    const auto waiting = engine_.queued.fetch_add(1, std::memory_order_relaxed);
    if (waiting >= options.handler_queue_requests_max) {
        engine_.queued.fetch_sub(1, std::memory_order_relaxed);
        refuse(
            exchange,
            503,
            "overloaded",
            fmt::format(
                "{} requests wait for a handler, the limit is {} (http.handler_queue_requests_max)",
                waiting,
                options.handler_queue_requests_max));
        co_return;
    }
    auto work = [this, &exchange, &terms] {
        engine_.queued.fetch_sub(1, std::memory_order_relaxed);
        auto context = RequestContext::background(engine_.clock, exchange.request.request_id);
        context.cancel = cancel_;
        auto response = engine_.handler(context, std::move(exchange.request));
        exchange.request = {};
        exchange.reservation.reset();
        if (engine_.draining.load(std::memory_order_acquire)) {
            terms.keep_alive = false;
        }
        exchange.answer.prepare(
            std::move(response), std::move(terms), engine_.options, engine_.clock.now());
    };
    if (!co_await run_on_pool(std::move(work))) {
        engine_.queued.fetch_sub(1, std::memory_order_relaxed);
        refuse(exchange, 503, "unavailable", "the server is stopping");
    }
}

HttpConnection::Awaitable<bool> HttpConnection::write_answer(Exchange& exchange) {
    auto& answer = exchange.answer;
    if (!co_await write_all(answer.head(), answer.piece())) {
        co_return false;
    }
    exchange.answer_bytes += answer.piece().size();
    while (answer.more()) {
        bool pulled = false;
        const bool ran = co_await run_on_pool([&answer, &pulled] { pulled = answer.pull(); });
        if (!ran || !pulled || gone_) {
            co_return false;
        }
        if (!co_await write_all(answer.piece(), {})) {
            co_return false;
        }
        exchange.answer_bytes += answer.piece().size();
    }
    co_return true;
}

// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace molesignal
