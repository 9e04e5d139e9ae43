#include "net/http_server.h"

#include <regex>
#include <thread>

#include <gtest/gtest.h>

#include "net/compression.h"
#include "net/server_fixture.h"

namespace molesignal {
namespace {

using HttpServerTest = ServerFixture;

std::string body_of(const std::string& answer) {
    const auto at = answer.find("\r\n\r\n");
    return at == std::string::npos ? "" : answer.substr(at + 4);
}

std::string undo_chunks(std::string wire) {
    std::string out;
    while (!wire.empty()) {
        const auto size = std::strtoul(wire.c_str(), nullptr, 16);
        const auto at = wire.find("\r\n") + 2;
        if (size == 0) {
            break;
        }
        out += wire.substr(at, size);
        wire.erase(0, at + size + 2);
    }
    return out;
}

HttpResponse three_pieces() {
    HttpResponse response;
    response.set_header("Content-Type", "application/x-ndjson");
    response.stream = [left = 3](std::string& chunk) mutable -> Result<bool> {
        chunk = "{\"row\":" + std::to_string(left) + "}\n";
        return --left > 0;
    };
    return response;
}

TEST_F(HttpServerTest, GoldenAnswer) {
    start();
    const auto answer = exchange(get("/a%20b", "X-Request-Id: me-1\r\nConnection: close\r\n"));
    const auto golden =
        std::regex_replace(answer, std::regex("Date: [A-Z][a-z]{2}, [^\r]* GMT"), "Date: D");
    EXPECT_EQ(golden,
              "HTTP/1.1 200 OK\r\n"
              "Content-Type: text/plain; charset=utf-8\r\n"
              "Content-Length: 11\r\n"
              "Date: D\r\n"
              "X-Request-Id: me-1\r\n"
              "X-Content-Type-Options: nosniff\r\n"
              "Connection: close\r\n"
              "\r\n"
              "GET /a b 0 ");
}

TEST_F(HttpServerTest, GoldenError) {
    start();
    const auto answer = exchange("GET / HTTP/9.9\r\nX-Request-Id: me\r\n\r\n");
    EXPECT_TRUE(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"))
        << answer;
    EXPECT_TRUE(
        std::regex_match(body_of(answer),
                         std::regex("\\{\"error\":\"bad_request\",\"message\":\"not an HTTP/1.1 "
                                    "request: [^\"]+\",\"request_id\":\"[0-9a-z]{26}\"\\}\n")))
        << answer;
}

TEST_F(HttpServerTest, KeepsTheConnection) {
    start();
    RawSocket socket(address());
    for (int i = 0; i < 3; ++i) {
        socket.send(post("/x", "body" + std::to_string(i)));
        EXPECT_EQ(body_of(socket.read_answer()), "POST /x 5 body" + std::to_string(i));
    }
    EXPECT_EQ(server_->stats().connections_total, 1U);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
    std::atomic<int> calls{0};
    start({}, [&](const RequestContext&, HttpRequest&& request) {
        ++calls;
        return HttpResponse::text(200, request.path + ":" + request.body);
    });
    std::string wire;
    for (int i = 0; i < 50; ++i) {
        wire += i % 3 == 0 ? get("/" + std::to_string(i))
                           : post("/" + std::to_string(i), std::string(3000, 'b'));
    }
    wire +=
        "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    wire += get("/last", kClose);
    RawSocket socket(address());
    std::thread writer([&] { socket.send(wire); });
    std::string all = socket.read_to_end();
    writer.join();
    EXPECT_EQ(calls, 52);
    std::size_t at = 0;
    for (int i = 0; i < 50; ++i) {
        at = all.find("\r\n\r\n/" + std::to_string(i) + ":", at);
        ASSERT_NE(at, std::string::npos) << i;
    }
    EXPECT_NE(all.find("/chunked:abc", at), std::string::npos);
    EXPECT_TRUE(all.ends_with("/last:"));
}

TEST_F(HttpServerTest, Http10ClosesUnlessAsked) {
    start({}, [](const RequestContext&, HttpRequest&& request) {
        return request.path == "/stream" ? three_pieces() : HttpResponse::text(200, "x");
    });
    EXPECT_NE(exchange("GET / HTTP/1.0\r\n\r\n").find("Connection: close"), std::string::npos);
    RawSocket socket(address());
    socket.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_NE(socket.read_answer().find("Connection: keep-alive"), std::string::npos);
    socket.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const auto streamed = socket.read_to_end();
    EXPECT_EQ(streamed.find("Transfer-Encoding"), std::string::npos);
    EXPECT_EQ(body_of(streamed), "{\"row\":3}\n{\"row\":2}\n{\"row\":1}\n");
}

TEST_F(HttpServerTest, ExpectContinue) {
    start();
    RawSocket socket(address());
    socket.send(
        "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: "
        "close\r\n\r\n");
    EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.send("abc");
    EXPECT_EQ(body_of(socket.read_to_end()), "POST /e 3 abc");
    EXPECT_TRUE(
        exchange(get("/", "Connection: close\r\nExpect: magic\r\n")).starts_with("HTTP/1.1 417 "));
}

TEST_F(HttpServerTest, DecodesBodiesInEveryCodingAndFraming) {
    start({}, [](const RequestContext&, HttpRequest&& request) {
        EXPECT_GE(request.body.capacity() - request.body.size(), kBodyPaddingBytes);
        return HttpResponse::text(200, std::to_string(std::hash<std::string>{}(request.body)));
    });
    SeededRandom random(5);
    std::string text;
    while (text.size() < 3'000'000) {
        text += "{\"n\":" + std::to_string(random.next_u64()) + "}\n";
    }
    const auto expected = std::to_string(std::hash<std::string>{}(text));
    for (const auto coding : {ContentCoding::kIdentity,
                              ContentCoding::kGzip,
                              ContentCoding::kDeflate,
                              ContentCoding::kZstd}) {
        const auto encoded = compress_all(coding, as_bytes(text)).value();
        const auto header =
            "Connection: close\r\nContent-Encoding: " + std::string(to_string(coding)) + "\r\n";
        EXPECT_EQ(body_of(exchange(post("/", encoded, header))), expected) << to_string(coding);
        std::string chunked =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + header + "\r\n";
        for (std::size_t at = 0; at < encoded.size(); at += 77'777) {
            const auto piece = encoded.substr(at, 77'777);
            char size[32];
            std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
            chunked += size + piece + "\r\n";
        }
        EXPECT_EQ(body_of(exchange(chunked + "0\r\n\r\n")), expected) << to_string(coding);
    }
    EXPECT_EQ(server_->stats().inflight_body_bytes, 0);
}

TEST_F(HttpServerTest, UnknownOrBrokenCodings) {
    start();
    const auto unknown = exchange(post("/", "x", "Connection: close\r\nContent-Encoding: br\r\n"));
    EXPECT_TRUE(unknown.starts_with("HTTP/1.1 415 ")) << unknown;
    EXPECT_NE(unknown.find("Accept-Encoding: gzip, deflate, zstd, snappy\r\n"), std::string::npos);
    RawSocket socket(address());
    socket.send(post("/", "not gzip", "Content-Encoding: gzip\r\n"));
    EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 400 "));
    const auto cut = compress_all(ContentCoding::kZstd, as_bytes("some text")).value();
    socket.send(post("/", cut.substr(0, cut.size() - 2), "Content-Encoding: zstd\r\n"));
    EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 400 "));
    socket.send(post("/", "x"));
    EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 200 ")) << "the connection goes on";
}

TEST_F(HttpServerTest, HeadHasTheHeadersOfGetAndNoBody) {
    start({}, [](const RequestContext&, HttpRequest&& request) {
        return request.path == "/s" ? three_pieces() : HttpResponse::text(200, "12345");
    });
    RawSocket socket(address());
    socket.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    const auto head = socket.read_until("\r\n\r\n");
    EXPECT_NE(head.find("Content-Length: 5\r\n"), std::string::npos);
    socket.send("HEAD /s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    const auto streamed = socket.read_to_end();
    EXPECT_TRUE(streamed.starts_with("HTTP/1.1 200 OK\r\n")) << streamed;
    EXPECT_NE(streamed.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
    EXPECT_TRUE(streamed.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, NoContentHasNoBody) {
    start({},
          [](const RequestContext&, HttpRequest&&) { return HttpResponse::text(204, "ignored"); });
    const auto answer = exchange(get("/", kClose));
    EXPECT_EQ(answer.find("Content-Length"), std::string::npos);
    EXPECT_EQ(body_of(answer), "");
}

TEST_F(HttpServerTest, CompressesWhatPays) {
    const std::string text(5000, 'x');
    start({}, [&](const RequestContext&, HttpRequest&& request) {
        if (request.path == "/stream") {
            return three_pieces();
        }
        auto response = HttpResponse::text(200, request.path == "/small" ? "x" : text);
        if (request.path == "/png") {
            response.set_header("content-type", "image/png");
        }
        return response;
    });
    const auto zstd = exchange(get("/", "Accept-Encoding: gzip, zstd\r\nConnection: close\r\n"));
    EXPECT_NE(zstd.find("Content-Encoding: zstd\r\nVary: Accept-Encoding\r\n"), std::string::npos);
    EXPECT_EQ(decompress_all(ContentCoding::kZstd, as_bytes(body_of(zstd)), 10'000).value(), text);
    const auto gzip = exchange(get("/", "Accept-Encoding: gzip\r\nConnection: close\r\n"));
    EXPECT_EQ(decompress_all(ContentCoding::kGzip, as_bytes(body_of(gzip)), 10'000).value(), text);
    EXPECT_EQ(body_of(exchange(get("/", kClose))), text);
    EXPECT_EQ(body_of(exchange(get("/png", "Accept-Encoding: gzip\r\nConnection: close\r\n"))),
              text);
    EXPECT_EQ(body_of(exchange(get("/small", "Accept-Encoding: gzip\r\nConnection: close\r\n"))),
              "x");
    for (const auto coding : {ContentCoding::kZstd, ContentCoding::kGzip}) {
        const auto streamed = exchange(get(
            "/stream",
            "Connection: close\r\nAccept-Encoding: " + std::string(to_string(coding)) + "\r\n"));
        EXPECT_NE(streamed.find("Transfer-Encoding: chunked"), std::string::npos);
        EXPECT_EQ(decompress_all(coding, as_bytes(undo_chunks(body_of(streamed))), 10'000).value(),
                  "{\"row\":3}\n{\"row\":2}\n{\"row\":1}\n");
    }
}

TEST_F(HttpServerTest, StreamsPiecesAsTheyAreMade) {
    Event first_read;
    start({}, [&](const RequestContext&, HttpRequest&&) {
        HttpResponse response;
        response.stream = [&, calls = 0](std::string& chunk) mutable -> Result<bool> {
            if (++calls == 1) {
                chunk = "first";
                return true;
            }
            EXPECT_TRUE(first_read.wait());
            chunk = "second";
            return false;
        };
        return response;
    });
    RawSocket socket(address());
    socket.send(get("/", kClose));
    EXPECT_TRUE(socket.read_until("first\r\n").ends_with("5\r\nfirst\r\n"));
    first_read.set();
    EXPECT_EQ(socket.read_to_end(), "6\r\nsecond\r\n0\r\n\r\n");
}

TEST_F(HttpServerTest, FailingStreams) {
    start({}, [](const RequestContext&, HttpRequest&& request) {
        HttpResponse response;
        response.stream =
            [left = request.path == "/late" ? 2 : 1](std::string& chunk) mutable -> Result<bool> {
            if (--left == 0) {
                return Error(ErrorCode::kInternal, "broke");
            }
            chunk = "piece";
            return true;
        };
        return response;
    });
    EXPECT_TRUE(exchange(get("/early", kClose)).starts_with("HTTP/1.1 500 "));
    const auto late = exchange(get("/late"));
    EXPECT_TRUE(late.starts_with("HTTP/1.1 200 ")) << late;
    EXPECT_TRUE(late.ends_with("5\r\npiece\r\n")) << "the last chunk must be missing: " << late;
}

TEST_F(HttpServerTest, HandlersCannotSplitTheAnswer) {
    start({}, [](const RequestContext&, HttpRequest&&) {
        auto response = HttpResponse::text(200, "x");
        response.set_header("X-Evil", "a\r\nSet-Cookie: b");
        response.set_header("Content-Length", "77");
        return response;
    });
    const auto answer = exchange(get("/", kClose));
    EXPECT_EQ(answer.find("\r\nSet-Cookie"), std::string::npos);
    EXPECT_NE(answer.find("Content-Length: 1\r\n"), std::string::npos);
    EXPECT_EQ(answer.find(": 77"), std::string::npos);
}

TEST_F(HttpServerTest, RequestIdsAreKeptOnlyIfHarmless) {
    start({}, [](const RequestContext& context, HttpRequest&& request) {
        EXPECT_EQ(context.request_id, request.request_id);
        return HttpResponse::text(200, request.request_id);
    });
    const auto id_for = [&](const std::string& sent) {
        return body_of(exchange(get("/", "X-Request-Id: " + sent + "\r\n" + std::string(kClose))));
    };
    EXPECT_EQ(id_for("abc-1"), "abc-1");
    EXPECT_EQ(id_for(std::string(128, 'a')), std::string(128, 'a'));
    EXPECT_EQ(id_for(std::string(129, 'a')).size(), 26U);
    EXPECT_EQ(id_for("a b").size(), 26U);
    EXPECT_EQ(id_for("\xc3\xa4").size(), 26U);
}

TEST_F(HttpServerTest, ListensOnSeveralAddresses) {
    HttpServerOptions options;
    options.listen = {"127.0.0.1:0", "127.0.0.1:0"};
    start(options, [](const RequestContext&, HttpRequest&& request) {
        EXPECT_TRUE(request.remote_address.starts_with("127.0.0.1:"));
        return HttpResponse::text(200, "listener " + std::to_string(request.listener));
    });
    ASSERT_EQ(server_->addresses().size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
        RawSocket socket(server_->addresses()[i]);
        socket.send(get("/", kClose));
        EXPECT_EQ(body_of(socket.read_to_end()), "listener " + std::to_string(i));
    }
}

TEST_F(HttpServerTest, RefusesBadAddressesAndLimits) {
    start();
    const auto attempt = [&](std::string listen) {
        HttpServerOptions options;
        options.listen = {std::move(listen)};
        const auto started = HttpServer::start(
            options,
            [](const RequestContext&, HttpRequest&&) { return HttpResponse{}; },
            {},
            clock_,
            random_);
        return started ? ErrorCode{} : started.error().code();
    };
    EXPECT_EQ(attempt("nonsense"), ErrorCode::kInvalidArgument);
    EXPECT_EQ(attempt("127.0.0.1"), ErrorCode::kInvalidArgument);
    EXPECT_EQ(attempt("127.0.0.1:70000"), ErrorCode::kInvalidArgument);
    EXPECT_EQ(attempt(""), ErrorCode::kInvalidArgument);
    EXPECT_EQ(attempt(address()), ErrorCode::kUnavailable);
}

TEST_F(HttpServerTest, ADisconnectCancelsTheRequest) {
    Event entered;
    Event cancelled;
    start({}, [&](const RequestContext& context, HttpRequest&& request) {
        EXPECT_TRUE(request.path == "/pipelined" || !context.cancel.cancelled());
        entered.set();
        EXPECT_TRUE(
            eventually([&] { return context.cancel.cancelled() && request.cancel.cancelled(); }));
        cancelled.set();
        return HttpResponse::text(200, "late");
    });
    RawSocket socket(address());
    socket.send(get("/slow") + get("/pipelined"));
    ASSERT_TRUE(entered.wait());
    socket.close();
    EXPECT_TRUE(cancelled.wait());
    EXPECT_TRUE(eventually([&] { return server_->stats().connections_open == 0; }));
}

TEST_F(HttpServerTest, AHalfClosedClientIsStillAnswered) {
    start({}, [&](const RequestContext& context, HttpRequest&& request) {
        if (request.path == "/second") {
            EXPECT_TRUE(eventually([&] { return context.cancel.cancelled(); }));
        }
        return HttpResponse::text(200, request.path);
    });
    RawSocket socket(address());
    socket.send(get("/first") + get("/second"));
    socket.end_sending();
    const auto answers = socket.read_to_end();
    EXPECT_NE(answers.find("\r\n\r\n/first"), std::string::npos);
    EXPECT_TRUE(answers.ends_with("\r\n\r\n/second")) << answers;
}

TEST_F(HttpServerTest, AClientThatClosesAroundItsAnswerLeavesNoConnection) {
    start();
    for (int i = 0; i < 200; ++i) {
        RawSocket socket(address());
        socket.send(get("/"));
        socket.end_sending();
        EXPECT_TRUE(socket.read_to_end().ends_with("GET / 0 "));
    }
    EXPECT_TRUE(eventually([&] { return server_->stats().connections_open == 0; }));
}

TEST_F(HttpServerTest, ADisconnectEndsAStream) {
    Event destroyed;
    start({}, [&](const RequestContext&, HttpRequest&&) {
        HttpResponse response;
        const std::shared_ptr<void> on_destruction(nullptr, [&](void*) { destroyed.set(); });
        response.stream = [on_destruction](std::string& chunk) -> Result<bool> {
            chunk.assign(100'000, 'x');
            return true;
        };
        return response;
    });
    RawSocket socket(address());
    socket.send(get("/endless"));
    socket.read_until("\r\n\r\n");
    socket.close();
    EXPECT_TRUE(destroyed.wait());
    EXPECT_TRUE(eventually([&] { return !complete().empty(); }));
    EXPECT_FALSE(complete().front());
}

TEST_F(HttpServerTest, DrainAnswersWhatRunsAndClosesWhatIsIdle) {
    Event entered;
    Event release;
    start({}, [&](const RequestContext&, HttpRequest&&) {
        entered.set();
        EXPECT_TRUE(release.wait());
        return HttpResponse::text(200, "done");
    });
    RawSocket idle(address());
    RawSocket busy(address());
    busy.send(get("/"));
    ASSERT_TRUE(entered.wait());
    EXPECT_FALSE(server_->drain(clock_.steady_now() + std::chrono::milliseconds(30)));
    EXPECT_TRUE(idle.closed_by_server());
    std::thread drainer([&] {
        const auto drained = server_->drain(clock_.steady_now() + std::chrono::seconds(10));
        EXPECT_TRUE(drained) << drained.error().message();
    });
    release.set();
    const auto answer = busy.read_to_end();
    busy.close();
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("done"));
    drainer.join();
    EXPECT_EQ(server_->stats().connections_open, 0U);
}

TEST_F(HttpServerTest, StopCancelsRunningRequests) {
    Event entered;
    start({}, [&](const RequestContext& context, HttpRequest&&) {
        entered.set();
        EXPECT_TRUE(eventually([&] { return context.cancel.cancelled(); }));
        return HttpResponse::text(200, "x");
    });
    RawSocket idle(address());
    RawSocket half(address());
    half.send("GET / HT");
    RawSocket busy(address());
    busy.send(get("/"));
    ASSERT_TRUE(entered.wait());
    server_->stop();
    EXPECT_EQ(server_->stats().connections_open, 0U);
    server_->stop();
}

TEST_F(HttpServerTest, ManyClientsAtOnce) {
    start();
    std::vector<std::thread> clients;
    std::atomic<int> good{0};
    for (int c = 0; c < 8; ++c) {
        clients.emplace_back([&, c] {
            RawSocket socket(address());
            for (int i = 0; i < 200; ++i) {
                const std::string body(static_cast<std::size_t>((i * 37 + c * 1001) % 20'000), 'a');
                socket.send(post("/c", body));
                good += body_of(socket.read_answer()) ==
                                "POST /c " + std::to_string(body.size()) + " " + body
                            ? 1
                            : 0;
            }
        });
    }
    for (auto& client : clients) {
        client.join();
    }
    EXPECT_EQ(good, 1600);
    EXPECT_TRUE(eventually([&] { return server_->stats().requests_total == 1600; }));
    EXPECT_EQ(server_->stats().requests_running, 0U);
}

}  // namespace
}  // namespace molesignal
