// Clients that hold on to what they get: slow senders, slow readers, idle ones, and those that go.
#include <array>
#include <thread>

#include <gtest/gtest.h>
#include <pthread.h>

#include "net/http_server.h"
#include "net/server_fixture.h"

namespace molesignal {
namespace {

using HttpSlowClientsTest = ServerFixture;

std::string thread_name() {
    std::array<char, 16> name{};
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
    return name.data();
}

HttpResponse endless(Event* destroyed, std::string* destroyed_on) {
    HttpResponse response;
    const std::shared_ptr<void> on_destruction(nullptr, [=](void*) {
        *destroyed_on = thread_name();
        destroyed->set();
    });
    response.stream = [on_destruction](std::string& chunk) -> Result<bool> {
        chunk.assign(1 << 20, 'x');
        return true;
    };
    return response;
}

TEST_F(HttpSlowClientsTest, ALengthTakesMemoryOnlyAsItsBytesCome) {
    start();
    RawSocket socket(address());
    socket.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30000000\r\n\r\nfirst");
    ASSERT_TRUE(eventually([&] { return body_memory_->used_bytes() > 0; }));
    EXPECT_LT(body_memory_->peak_bytes(), 64 << 10);
    socket.send(std::string(1'000'000, 'x'));
    ASSERT_TRUE(eventually([&] { return body_memory_->used_bytes() > 1'000'000; }));
    EXPECT_LT(body_memory_->peak_bytes(), 3'000'000);
    socket.close();
    EXPECT_TRUE(eventually([&] { return body_memory_->used_bytes() == 0; }));
    EXPECT_EQ(statuses(), std::vector<int>{499}) << "an upload that its client gave up";
    EXPECT_EQ(complete(), std::vector<bool>{false});
}

TEST_F(HttpSlowClientsTest, ADrippingBodyIsEndedThoughEveryByteIsInTime) {
    HttpServerOptions options;
    options.body_idle_timeout_ms = 100;
    options.body_bytes_per_second_min = 1'000'000;
    start(options);
    for (const std::string_view framing :
         {"Content-Length: 10000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"}) {
        const bool chunked = framing.starts_with("Transfer");
        RawSocket socket(address());
        socket.send("POST / HTTP/1.1\r\nHost: h\r\n" + std::string(framing));
        const auto answered = statuses().size() + 1;
        ASSERT_TRUE(eventually([&] {
            socket.send(chunked ? "1\r\nx\r\n" : "x");
            return statuses().size() == answered;
        }));
        const auto answer = socket.read_answer();
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
        EXPECT_NE(answer.find("1000000 bytes a second (http.body_bytes_per_second_min)"),
                  std::string::npos)
            << answer;
    }
}

TEST_F(HttpSlowClientsTest, ABodyThatIsFastEnoughStillHasAnEnd) {
    HttpServerOptions options;
    options.body_bytes_per_second_min = 0;
    options.body_timeout_ms = 100;
    start(options);
    RawSocket socket(address());
    socket.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
    ASSERT_TRUE(eventually([&] {
        socket.send("x");
        return !statuses().empty();
    }));
    const auto answer = socket.read_answer();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
    EXPECT_NE(answer.find("100 ms (http.body_timeout_ms)"), std::string::npos) << answer;
}

TEST_F(HttpSlowClientsTest, AnAnswerMustBeReadByItsTime) {
    Event destroyed;
    std::string destroyed_on;
    HttpServerOptions options;
    options.header_timeout_ms = 50;  // Sets how often connections are looked at.
    start(options, [&](const RequestContext&, HttpRequest&&) {
        auto response = endless(&destroyed, &destroyed_on);
        response.write_by = clock_.steady_now() + std::chrono::milliseconds(50);
        return response;
    });
    RawSocket socket(address(), 4096);
    socket.send(get("/"));
    EXPECT_TRUE(destroyed.wait()) << "what the stream holds is free again";
    EXPECT_EQ(destroyed_on, "http") << "a thread of the pool, not of the loop";
    ASSERT_TRUE(eventually([&] { return !complete().empty(); }));
    EXPECT_FALSE(complete().front());
}

TEST_F(HttpSlowClientsTest, AReaderMustKeepARate) {
    Event destroyed;
    std::string destroyed_on;
    HttpServerOptions options;
    options.write_timeout_ms = 100;
    options.write_bytes_per_second_min = 1 << 30;
    start(options,
          [&](const RequestContext&, HttpRequest&&) { return endless(&destroyed, &destroyed_on); });
    RawSocket socket(address(), 4096);
    socket.send(get("/"));
    // Reads all the time, yet not a gigabyte a second.
    ASSERT_TRUE(eventually([&] {
        socket.read_some();
        return !complete().empty();
    }));
    EXPECT_TRUE(destroyed.wait());
    EXPECT_FALSE(complete().front());
}

TEST_F(HttpSlowClientsTest, TheConnectionThatIsIdleLongestMakesRoom) {
    HttpServerOptions options;
    options.connections_max = 2;
    start(options);
    RawSocket oldest(address());
    oldest.send(get("/"));
    oldest.read_answer();
    RawSocket newer(address());
    newer.send(get("/"));
    newer.read_answer();
    ASSERT_TRUE(eventually([&] { return server_->stats().connections_idle == 2; }));
    RawSocket newest(address());
    newest.send(get("/"));
    EXPECT_TRUE(newest.read_answer().starts_with("HTTP/1.1 200 "));
    EXPECT_TRUE(oldest.closed_by_server());
    newer.send(get("/"));
    EXPECT_TRUE(newer.read_answer().starts_with("HTTP/1.1 200 "));
    EXPECT_EQ(server_->stats().connections_evicted, 1U);
    EXPECT_EQ(server_->stats().connections_refused, 0U);
}

TEST_F(HttpSlowClientsTest, ConnectionsAreBoundedByTheDescriptors) {
    HttpServerOptions options;
    options.open_files_max = 4;
    start(options);
    RawSocket first(address());
    RawSocket second(address());
    first.send("GET");
    second.send("GET");
    ASSERT_TRUE(eventually([&] {
        const auto stats = server_->stats();
        return stats.connections_open == 2 && stats.connections_idle == 0;
    }));
    EXPECT_NE(exchange("").find("the limit is 2 (http.connections_max)"), std::string::npos);
}

TEST_F(HttpSlowClientsTest, AClientThatGoesIsNoticedBehindWhatItPipelined) {
    HttpServerOptions options;
    options.header_timeout_ms = 50;  // Sets how often connections are looked at.
    Event entered;
    Event cancelled;
    start(options, [&](const RequestContext& context, HttpRequest&& request) {
        if (request.path == "/first") {
            entered.set();
            EXPECT_TRUE(eventually([&] { return context.cancel.cancelled(); }));
            cancelled.set();
        }
        return HttpResponse::text(200, "late");
    });
    RawSocket socket(address());
    socket.send(get("/first") + post("/second", std::string(100'000, 'x')));
    ASSERT_TRUE(entered.wait());
    socket.close();
    EXPECT_TRUE(cancelled.wait());
}

}  // namespace
}  // namespace molesignal
