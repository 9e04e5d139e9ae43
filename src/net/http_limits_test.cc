#include <thread>

#include <gtest/gtest.h>

#include "net/compression.h"
#include "net/http_server.h"
#include "net/server_fixture.h"

namespace molesignal {
namespace {

using HttpLimitsTest = ServerFixture;

/// Megabytes of zeros as a small body.
std::string bomb(ContentCoding coding, int megabytes) {
    const auto encoder = StreamEncoder::make(coding, coding == ContentCoding::kZstd ? 19 : 9);
    const std::string zeros(1 << 20, '\0');
    std::string out;
    for (int i = 0; i < megabytes; ++i) {
        EXPECT_TRUE(encoder->write(as_bytes(zeros), out));
    }
    EXPECT_TRUE(encoder->finish(out));
    return out;
}

TEST_F(HttpLimitsTest, SmugglingAttemptsAreRefusedAndTheConnectionEnds) {
    std::atomic<int> calls{0};
    start({}, [&](const RequestContext&, HttpRequest&&) {
        ++calls;
        return HttpResponse::text(200, "handled");
    });
    const std::string_view hostile[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5 5\r\n",
        "Transfer-Encoding:\x0b chunked\r\n",
        "Host: second\r\n",
    };
    for (const auto headers : hostile) {
        const auto wire = "POST / HTTP/1.1\r\nHost: h\r\n" + std::string(headers) +
                          "\r\n0\r\n\r\n" + get("/smuggled");
        const auto answer = exchange(wire);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << headers << answer;
        EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
        EXPECT_NE(answer.find("\"error\":\"bad_request\""), std::string::npos);
        EXPECT_EQ(answer.find("handled"), std::string::npos);
    }
    EXPECT_EQ(calls, 0);
}

TEST_F(HttpLimitsTest, GarbageIsRefusedAtOnce) {
    start();
    for (const std::string_view wire :
         {"\x16\x03\x01\x02",
          "GET / HTTP/1.1\nHost: h\n\n",
          "\n\n",
          "GET /a%2fb HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
        EXPECT_TRUE(exchange(wire).starts_with("HTTP/1.1 400 ")) << wire;
    }
    // Empty lines before a request are not garbage.
    EXPECT_TRUE(exchange("\r\n\r\n" + get("/", kClose)).starts_with("HTTP/1.1 200 "));
}

TEST_F(HttpLimitsTest, UrlAndHeaderSizes) {
    HttpServerOptions options;
    options.url_bytes_max = 1000;
    options.header_bytes_max = 2000;
    start(options);
    const auto url = [](std::size_t bytes) { return "/" + std::string(bytes - 1, 'u'); };
    EXPECT_TRUE(exchange(get(url(1000), kClose)).starts_with("HTTP/1.1 200 "));
    const auto too_long = exchange(get(url(1001), kClose));
    EXPECT_TRUE(too_long.starts_with("HTTP/1.1 414 ")) << too_long;
    EXPECT_NE(too_long.find("1000 (http.url_bytes_max)"), std::string::npos);
    EXPECT_TRUE(exchange("GET " + url(100'000)).starts_with("HTTP/1.1 414 "));
    const auto header = [](std::size_t bytes) {
        return "X-A: " + std::string(bytes, 'h') + "\r\n" + std::string(kClose);
    };
    EXPECT_TRUE(exchange(get("/", header(1900))).starts_with("HTTP/1.1 200 "));
    const auto too_large = exchange(get("/", header(2000)));
    EXPECT_TRUE(too_large.starts_with("HTTP/1.1 431 ")) << too_large;
    EXPECT_NE(too_large.find("2000 bytes (http.header_bytes_max)"), std::string::npos);
    EXPECT_TRUE(
        exchange("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'h')).starts_with("HTTP/1.1 431 "));
}

TEST_F(HttpLimitsTest, BodySizeExactly) {
    HttpServerOptions options;
    options.body_bytes_max = 1000;
    start(options, [](const RequestContext&, HttpRequest&& request) {
        return HttpResponse::text(200, std::to_string(request.body.size()));
    });
    const auto send = [&](std::size_t bytes, ContentCoding coding, bool chunked) {
        const auto body = compress_all(coding, as_bytes(std::string(bytes, 'b'))).value();
        const auto headers =
            "Connection: close\r\nContent-Encoding: " + std::string(to_string(coding)) + "\r\n";
        if (!chunked) {
            return exchange(post("/", body, headers));
        }
        char size[32];
        std::snprintf(size, sizeof size, "%zx\r\n", body.size());
        return exchange("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + headers +
                        "\r\n" + size + body + "\r\n0\r\n\r\n");
    };
    for (const auto coding :
         {ContentCoding::kIdentity, ContentCoding::kGzip, ContentCoding::kZstd}) {
        for (const bool chunked : {false, true}) {
            EXPECT_TRUE(send(1000, coding, chunked).ends_with("\r\n\r\n1000"))
                << to_string(coding) << chunked;
            const auto refused = send(1001, coding, chunked);
            EXPECT_TRUE(refused.starts_with("HTTP/1.1 413 "))
                << to_string(coding) << chunked << refused;
            EXPECT_NE(refused.find("1000 bytes (http.body_bytes_max)"), std::string::npos);
        }
    }
}

TEST_F(HttpLimitsTest, ADeclaredSizeIsRefusedBeforeTheBodyIsSent) {
    start();
    RawSocket socket(address());
    socket.send(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\nExpect: "
        "100-continue\r\n\r\n");
    EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 413 "));
}

TEST_F(HttpLimitsTest, BombsAreStoppedBeforeTheyTakeMemory) {
    start();
    for (const auto coding :
         {ContentCoding::kGzip, ContentCoding::kDeflate, ContentCoding::kZstd}) {
        const auto body = bomb(coding, 300);
        EXPECT_LT(body.size(), 400'000U);
        const auto header =
            "Connection: close\r\nContent-Encoding: " + std::string(to_string(coding)) + "\r\n";
        const auto answer = exchange(post("/", body, header));
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << to_string(coding) << answer;
        EXPECT_NE(answer.find(std::to_string(32 << 20) + " bytes (http.body_bytes_max)"),
                  std::string::npos);
    }
    EXPECT_TRUE(eventually([&] { return server_->stats().inflight_body_bytes == 0; }));
}

TEST_F(HttpLimitsTest, TheBytesInFlightAreLimited) {
    HttpServerOptions options;
    options.inflight_body_bytes_max = 1'500'000;
    Event entered;
    Event release;
    start(options, [&](const RequestContext&, HttpRequest&& request) {
        if (request.path == "/hold") {
            entered.set();
            EXPECT_TRUE(release.wait());
        }
        return HttpResponse::text(200, "ok");
    });
    const std::string body(1'000'000, 'b');
    RawSocket holder(address());
    holder.send(post("/hold", body));
    ASSERT_TRUE(entered.wait());
    EXPECT_GE(server_->stats().inflight_body_bytes, 1'000'000);
    const auto refused = exchange(post("/", body));
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 503 ")) << refused;
    EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
    EXPECT_NE(refused.find("http.inflight_body_bytes_max"), std::string::npos);
    const auto packed = compress_all(ContentCoding::kGzip, as_bytes(body)).value();
    EXPECT_TRUE(exchange(post("/", packed, "Connection: close\r\nContent-Encoding: gzip\r\n"))
                    .starts_with("HTTP/1.1 503 "));
    release.set();
    EXPECT_TRUE(holder.read_answer().ends_with("ok"));
    EXPECT_TRUE(exchange(post("/", body, kClose)).starts_with("HTTP/1.1 200 "));
    EXPECT_TRUE(eventually([&] { return server_->stats().inflight_body_bytes == 0; }));
}

TEST_F(HttpLimitsTest, TooManyConnections) {
    HttpServerOptions options;
    options.connections_max = 2;
    start(options);
    RawSocket first(address());
    RawSocket second(address());
    first.send("GET");
    second.send("GET");
    const auto nobody_idle = [&] {
        const auto stats = server_->stats();
        return stats.connections_open == 2 && stats.connections_idle == 0;
    };
    ASSERT_TRUE(eventually(nobody_idle));
    const auto refused = exchange("");
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 503 ")) << refused;
    EXPECT_NE(refused.find("Retry-After: "), std::string::npos);
    EXPECT_NE(refused.find("2 (http.connections_max)"), std::string::npos);
    first.send(get("/").substr(3));
    EXPECT_TRUE(first.read_answer().starts_with("HTTP/1.1 200 "));
    EXPECT_EQ(server_->stats().connections_refused, 1U);
    second.close();
    ASSERT_TRUE(eventually([&] { return server_->stats().connections_open == 1; }));
    EXPECT_TRUE(exchange(get("/", kClose)).starts_with("HTTP/1.1 200 "));
}

TEST_F(HttpLimitsTest, TooManyWaitingRequests) {
    HttpServerOptions options;
    options.lanes[0].running_max = 1;
    options.lanes[0].waiting_max = 1;
    Event entered;
    Event release;
    start(options, [&](const RequestContext&, HttpRequest&&) {
        entered.set();
        EXPECT_TRUE(release.wait());
        return HttpResponse::text(200, "ok");
    });
    RawSocket running(address());
    running.send(get("/", kClose));
    ASSERT_TRUE(entered.wait());
    RawSocket waiting(address());
    waiting.send(get("/", kClose));
    ASSERT_TRUE(eventually([&] { return server_->stats().requests_running == 2; }));
    const auto refused = exchange(get("/", kClose));
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 429 ")) << refused;
    EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
    EXPECT_NE(refused.find("too many requests: no more can wait (http.handler_threads_max run, "
                           "http.handler_queue_requests_max wait)"),
              std::string::npos)
        << refused;
    release.set();
    EXPECT_TRUE(running.read_to_end().ends_with("ok"));
    EXPECT_TRUE(waiting.read_to_end().ends_with("ok"));
}

TEST_F(HttpLimitsTest, SlowHeadsAreEnded) {
    HttpServerOptions options;
    options.header_timeout_ms = 50;
    start(options);
    EXPECT_EQ(exchange(""), "") << "a silent new connection is closed without an answer";
    const auto answer = exchange("GET / HTTP/1.1\r\nHost:");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
    EXPECT_NE(answer.find("50 ms (http.header_timeout_ms)"), std::string::npos);
}

TEST_F(HttpLimitsTest, DrippingHeadsAreEndedToo) {
    HttpServerOptions options;
    options.header_timeout_ms = 60;
    start(options);
    RawSocket socket(address());
    socket.send("GET / HTTP/1.1\r\n");
    const auto began = clock_.steady_now();
    Event answered;
    std::thread dripper([&] {
        for (int i = 0; i < 5000 && socket.send("A: b\r\n"); ++i) {
            if (!statuses().empty()) {
                break;
            }
            std::this_thread::yield();
        }
        answered.set();
    });
    EXPECT_TRUE(answered.wait());
    dripper.join();
    const auto status = socket.read_until("\r\n");
    EXPECT_TRUE(status.starts_with("HTTP/1.1 4")) << status;
    EXPECT_LT(clock_.steady_now().value - began.value, 5'000'000'000);
}

TEST_F(HttpLimitsTest, SilentBodiesAreEnded) {
    HttpServerOptions options;
    options.body_idle_timeout_ms = 50;
    start(options);
    for (const std::string_view head :
         {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
        const auto answer = exchange(head);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
        EXPECT_NE(answer.find("50 ms (http.body_idle_timeout_ms)"), std::string::npos);
    }
}

TEST_F(HttpLimitsTest, IdleConnectionsAreClosed) {
    HttpServerOptions options;
    options.keepalive_timeout_ms = 50;
    start(options);
    RawSocket socket(address());
    socket.send(get("/"));
    EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 200 "));
    EXPECT_TRUE(socket.closed_by_server());
}

TEST_F(HttpLimitsTest, ReadersThatStopAreCutOff) {
    HttpServerOptions options;
    options.write_timeout_ms = 60;
    start(options, [](const RequestContext&, HttpRequest&&) {
        return HttpResponse::text(200, std::string(64 << 20, 'x'));
    });
    RawSocket socket(address(), 4096);
    socket.send(get("/"));
    ASSERT_TRUE(eventually([&] { return !statuses().empty(); }));
    EXPECT_FALSE(complete().front());
}

TEST_F(HttpLimitsTest, AnEarlyRefusalReachesAClientThatGoesOnSending) {
    HttpServerOptions options;
    options.body_bytes_max = 1000;
    start(options);
    RawSocket socket(address());
    std::thread writer([&] {
        socket.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n");
        socket.send(std::string(4'000'000, 'x'));
    });
    const auto answer = socket.read_until("}\n");
    writer.join();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
}

}  // namespace
}  // namespace molesignal
