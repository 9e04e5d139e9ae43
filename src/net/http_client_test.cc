#include "net/http_client.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "net/compression.h"
#include "net/server_fixture.h"

namespace molesignal {
namespace {

class HttpClientTest : public ServerFixture {
protected:
    std::string url(std::string_view path) const {
        return "http://" + address() + std::string(path);
    }
    RequestContext context() const { return RequestContext::background(clock_, "test"); }
};

TEST_F(HttpClientTest, SendsAndReceivesOverOneConnection) {
    start();
    HttpClient client({}, clock_);
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{10}, std::size_t{5'000'000}}) {
        const std::string body(bytes, 'b');
        const auto answer = client.request(
            context(), {.method = "POST", .url = url("/a%20b"), .headers = {}, .body = body});
        ASSERT_TRUE(answer) << answer.error().message();
        EXPECT_EQ(answer->status, 200);
        EXPECT_EQ(answer->body, "POST /a b " + std::to_string(bytes) + " " + body);
        EXPECT_EQ(answer->header("content-type"), "text/plain; charset=utf-8");
    }
    EXPECT_EQ(server_->stats().connections_total, 1U);
}

TEST_F(HttpClientTest, DecodesCompressedAnswers) {
    const std::string text(100'000, 't');
    start({}, [&](const RequestContext&, HttpRequest&&) { return HttpResponse::text(200, text); });
    for (const std::string accept : {"gzip", "zstd", ""}) {
        HttpClient client({.accept_encoding = accept}, clock_);
        const auto answer = client.request(context(), {.url = url("/")});
        ASSERT_TRUE(answer) << answer.error().message();
        EXPECT_EQ(answer->body, text);
        EXPECT_EQ(answer->header("Content-Encoding").value_or(""), accept);
    }
}

TEST_F(HttpClientTest, StreamsPieces) {
    start({}, [&](const RequestContext&, HttpRequest&& request) {
        if (request.path != "/rows") {
            return HttpResponse::error(404, "not_found", "no such thing", request.request_id);
        }
        HttpResponse response;
        response.set_header("Content-Type", "application/x-ndjson");
        response.stream = [left = 1000](std::string& chunk) mutable -> Result<bool> {
            chunk = std::to_string(left) + "\n";
            return --left > 0;
        };
        return response;
    });
    HttpClient client({.accept_encoding = "zstd"}, clock_);
    std::size_t lines = 0;
    const auto count = [&](std::string_view chunk) -> Result<> {
        lines += static_cast<std::size_t>(std::ranges::count(chunk, '\n'));
        return {};
    };
    const auto answer = client.stream(context(), {.url = url("/rows")}, count);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(lines, 1000U);
    EXPECT_EQ(answer->body, "");
    const auto missing = client.stream(context(), {.url = url("/other")}, count);
    ASSERT_TRUE(missing);
    EXPECT_EQ(missing->status, 404);
    EXPECT_NE(missing->body.find("no such thing"), std::string::npos);
    EXPECT_EQ(server_->stats().connections_total, 1U);
    const auto stop = [](std::string_view) -> Result<> {
        return Error(ErrorCode::kInternal, "disk full");
    };
    const auto stopped = client.stream(context(), {.url = url("/rows")}, stop);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().message(), "disk full");
    EXPECT_TRUE(client.request(context(), {.url = url("/other")}));
}

TEST_F(HttpClientTest, ReconnectsWhenTheServerClosedMeanwhile) {
    start({.keepalive_timeout_ms = 30});
    HttpClient client({}, clock_);
    ASSERT_TRUE(client.request(context(), {.method = "POST", .url = url("/")}));
    ASSERT_TRUE(eventually([&] { return server_->stats().connections_open == 0; }));
    EXPECT_TRUE(client.request(context(), {.method = "POST", .url = url("/")}));
}

TEST_F(HttpClientTest, ObeysDeadlineCancelAndLimits) {
    Event release;
    start({}, [&](const RequestContext&, HttpRequest&& request) {
        if (request.path == "/slow") {
            EXPECT_TRUE(release.wait());
        }
        return HttpResponse::text(200, std::string(10'000, 'x'));
    });
    HttpClient client({.response_bytes_max = 9'999}, clock_);
    auto late = context();
    late.deadline = clock_.steady_now() + std::chrono::milliseconds(60);
    const auto timed_out = client.request(late, {.url = url("/slow")});
    ASSERT_FALSE(timed_out);
    EXPECT_EQ(timed_out.error().code(), ErrorCode::kTimeout);
    auto cancelled = context();
    std::thread canceller([&] {
        EXPECT_TRUE(eventually([&] { return server_->stats().requests_running >= 1; }));
        cancelled.cancel.cancel();
    });
    const auto ended = client.request(cancelled, {.url = url("/slow")});
    canceller.join();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::kCancelled);
    release.set();
    const auto large = client.request(context(), {.url = url("/")});
    ASSERT_FALSE(large);
    EXPECT_EQ(large.error().code(), ErrorCode::kTooLarge);
    EXPECT_NE(large.error().message().find("9999 bytes (response_bytes_max)"), std::string::npos);
}

TEST_F(HttpClientTest, ReportsAnEarlyRefusal) {
    start({.body_bytes_max = 1000});
    HttpClient client({}, clock_);
    const std::string body(30'000'000, 'x');
    const auto answer =
        client.request(context(), {.method = "POST", .url = url("/"), .headers = {}, .body = body});
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(answer->status, 413);
}

TEST_F(HttpClientTest, RefusesUnusableRequests) {
    HttpClient client({}, clock_);
    for (const std::string bad :
         {"https://h/", "h:80", "http://", "http://h:x/", "http://h:0/", "http://h/a b", ""}) {
        const auto answer = client.request(context(), {.url = bad});
        ASSERT_FALSE(answer) << bad;
        EXPECT_EQ(answer.error().code(), ErrorCode::kInvalidArgument) << bad;
    }
    EXPECT_EQ(client.request(context(), {.url = "http://h/", .headers = {{"A", "b\r\nC: d"}}})
                  .error()
                  .code(),
              ErrorCode::kInvalidArgument);
    start();
    const auto dead = url("/");
    server_->stop();
    EXPECT_EQ(client.request(context(), {.url = dead}).error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace molesignal
