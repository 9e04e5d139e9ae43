// What happens to a request between its head and its answer.
#include <algorithm>
#include <chrono>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include "common/assert.h"
#include "net/body_decoding.h"
#include "net/http_connection.h"
#include "net/http_connection_limits.h"

namespace molesignal {
namespace {

namespace asio = boost::asio;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

}  // namespace

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)

std::function<void()> HttpConnection::make_signal() {
    signalled_ = false;
    return [self = shared_from_this(), number = ++signal_number_] {
        asio::post(self->loop_.context, [self, number] {
            if (self->signal_number_ != number) {
                return;  // Its wait has ended otherwise.
            }
            self->signalled_ = true;
            self->signal_timer_.cancel();
            boost::system::error_code error;
            std::ignore = self->socket_.cancel(error);
        });
    };
}

HttpConnection::Awaitable<bool> HttpConnection::wait_for_signal(Until until) {
    phase_ = Phase::kWork;
    // Reading ahead is how the end of the connection shows; what arrives is the next request.
    while (!signalled_ && !input_ended_ && !gone_ && !timed_out_ && !reading_is_paused()) {
        co_await read_more(kIdleBufferBytes);
    }
    while (!signalled_) {
        if (until == Until::kSignalOrEnd && (input_ended_ || gone_ || timed_out_)) {
            break;
        }
        signal_timer_.expires_at(asio::steady_timer::time_point::max());
        co_await signal_timer_.async_wait(kToken);
    }
    deadline_ = SteadyNanos::never();
    co_return signalled_;
}

HttpConnection::Awaitable<bool> HttpConnection::run_on_pool(std::function<void()> work) {
    deadline_ = SteadyNanos::never();
    timed_out_ = false;
    auto task = [work = std::move(work), signal = make_signal()] {
        work();
        signal();
    };
    if (!engine_.pool.submit(std::move(task))) {
        co_return false;
    }
    co_await wait_for_signal(Until::kSignal);
    co_return true;
}

RequestContext HttpConnection::context_of(const Exchange& exchange) const {
    auto context = RequestContext::background(engine_.clock, exchange.request.request_id);
    context.cancel = exchange.request.cancel;
    return context;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::admit(Exchange& exchange) {
    auto& admission = exchange.admission;
    const auto& ask = engine_.hooks.admit;
    if (!ask) {
        co_return Step::kGo;
    }
    const auto context = context_of(exchange);
    admission = ask(context, exchange.request, HttpMayBlock::kNo);
    if (admission.verdict == HttpAdmission::Verdict::kAskAgain) {
        if (const auto step = co_await enter_lane(exchange, admission.lane); step != Step::kGo) {
            co_return step;
        }
        std::function<void()> ask_again = [&] {
            admission = ask(context, exchange.request, HttpMayBlock::kYes);
        };
        if (!co_await run_on_pool(std::move(ask_again))) {
            co_return refuse(exchange, {503, "unavailable", "the server is stopping"});
        }
        exchange.pass.leave();
    }
    exchange.request.ticket = std::move(admission.ticket);
    if (admission.verdict == HttpAdmission::Verdict::kAnswer) {
        co_return answer_with(exchange, std::move(admission.answer));
    }
    co_return Step::kGo;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::enter_lane(Exchange& exchange,
                                                                           std::size_t index) {
    MS_ASSERT(index < engine_.lanes.size());
    auto& lane = *engine_.lanes[index];
    const auto& options = lane.options();
    const auto entry = lane.enter(exchange.pass, make_signal());
    if (entry == HttpLane::Entry::kEntered) {
        co_return Step::kGo;
    }
    const auto too_many = [&](std::string_view what) {
        return refuse(exchange,
                      {429,
                       "resource_exhausted",
                       fmt::format("too many {}: {} ({})", options.name, what, options.bounds),
                       options.setting});
    };
    if (entry == HttpLane::Entry::kFull) {
        co_return too_many("no more can wait");
    }
    set_deadline(options.waiting_ms_max);
    if (co_await wait_for_signal(Until::kSignalOrEnd)) {
        co_return Step::kGo;
    }
    exchange.pass.leave();
    if (!timed_out_) {
        co_return refuse(exchange,
                         {499, "cancelled", "the client has gone while its request waited"});
    }
    co_return too_many(fmt::format("none ended within {} ms", options.waiting_ms_max));
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::handle(Exchange& exchange) {
    if (const auto step = co_await enter_lane(exchange, exchange.admission.lane);
        step != Step::kGo) {
        co_return step;
    }
    std::function<void()> work = [this, &exchange] { work_on(exchange); };
    if (!co_await run_on_pool(std::move(work))) {
        co_return refuse(exchange, {503, "unavailable", "the server is stopping"});
    }
    co_return Step::kGo;
}

void HttpConnection::work_on(Exchange& exchange) {
    auto& request = exchange.request;
    if (exchange.coding != ContentCoding::kIdentity) {
        MemoryReservation memory(engine_.body_memory);
        auto decoded = decode_body(exchange.coding,
                                   as_bytes(exchange.encoded),
                                   {.bytes_max = engine_.options.body_bytes_max},
                                   memory);
        std::string().swap(exchange.encoded);
        exchange.body_memory = std::move(memory);
        if (!decoded) {
            switch (decoded.error().code()) {
                case ErrorCode::kTooLarge:
                    refuse_body_size(exchange);
                    return;
                case ErrorCode::kResourceExhausted:
                    refuse_body_memory(exchange, decoded.error());
                    return;
                default:
                    refuse(exchange, {400, "bad_request", decoded.error().message()});
                    return;
            }
        }
        request.body = *std::move(decoded);
    }
    const auto context = context_of(exchange);
    auto response = engine_.handler(context, std::move(request));
    request = {};
    exchange.body_memory.reset();
    auto& terms = exchange.terms;
    terms.keep_alive = terms.keep_alive && !engine_.draining.load(std::memory_order_acquire);
    exchange.answer.prepare(
        std::move(response), std::move(terms), engine_.options, engine_.clock.now());
}

HttpConnection::Awaitable<bool> HttpConnection::write_answer(Exchange& exchange) {
    auto& answer = exchange.answer;
    pace_ = TransferPace(std::chrono::milliseconds(engine_.options.write_timeout_ms),
                         engine_.options.write_bytes_per_second_min);
    transfer_by_ = answer.write_by();
    exchange.answer_memory = MemoryReservation(engine_.buffer_memory);
    const auto count_memory = [&] {
        exchange.answer_memory.force_resize(static_cast<std::int64_t>(answer.memory_bytes()));
        if (!answer.more()) {
            exchange.pass.leave();  // Nothing is left but to send.
        }
    };
    count_memory();
    bool written = co_await write_all(answer.head(), answer.piece());
    exchange.answer_bytes += written ? answer.piece().size() : 0;
    while (written && answer.more()) {
        bool pulled = false;
        std::function<void()> pull = [&] { pulled = answer.pull(); };
        if (!co_await run_on_pool(std::move(pull)) || !pulled || gone_) {
            written = false;
            break;
        }
        count_memory();
        written = co_await write_all(answer.piece(), {});
        exchange.answer_bytes += written ? answer.piece().size() : 0;
    }
    if (answer.more()) {
        // What a stream holds (a running query) may take long to end: not on this thread.
        std::function<void()> abandon = [&] { answer.abandon(); };
        if (!co_await run_on_pool(std::move(abandon))) {
            answer.abandon();
        }
    }
    co_return written;
}

// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace molesignal
