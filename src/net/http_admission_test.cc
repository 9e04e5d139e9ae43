#include <thread>

#include <gtest/gtest.h>

#include "net/http_server.h"
#include "net/server_fixture.h"

namespace molesignal {
namespace {

using Verdict = HttpAdmission::Verdict;

struct TestTicket final : HttpTicket {
    explicit TestTicket(std::string who) : name(std::move(who)) {}
    std::string name;
};

HttpAdmission answered(int status, const std::string& body) {
    HttpAdmission admission;
    admission.verdict = Verdict::kAnswer;
    admission.answer = HttpResponse::text(status, body);
    return admission;
}

/// Paths begin with the index of their lane; /401 and /live are answered from the head.
HttpAdmission by_path(const RequestContext&, const HttpRequest& request, HttpMayBlock) {
    EXPECT_TRUE(request.body.empty());
    if (request.path == "/401") {
        return answered(401, "who are you");
    }
    if (request.path == "/live") {
        return answered(200, "alive");
    }
    HttpAdmission admission;
    admission.lane = static_cast<std::size_t>(request.path.at(1) - '0');
    return admission;
}

class HttpAdmissionTest : public ServerFixture {
protected:
    HttpAdmissionTest() {
        options_.lanes.resize(2);
        options_.lanes[0] = {.name = "ingests", .running_max = 1, .waiting_max = 1};
        options_.lanes[1] = {.name = "queries", .running_max = 1, .waiting_max = 1};
        admit_ = by_path;
    }
    /// Requests to /0hold wait for `release_`.
    void start_holding() {
        start(options_, [&](const RequestContext& context, HttpRequest&& request) {
            if (request.path.ends_with("hold")) {
                entered_.set();
                EXPECT_TRUE(release_.wait());
            }
            return HttpResponse::text(context.cancel.cancelled() ? 499 : 200, request.path);
        });
    }
    HttpLaneStats lane(std::size_t index) { return server_->stats().lanes.at(index); }

    HttpServerOptions options_;
    Event entered_;
    Event release_;
};

TEST_F(HttpAdmissionTest, ARefusalFromTheHeadCostsNoMemoryAndNoBody) {
    start();
    const auto head =
        "POST /401 HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\nExpect: 100-continue\r\n\r\n";
    const auto answer = exchange(head);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 401 ")) << "not even 100 Continue: " << answer;
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_EQ(body_memory_->peak_bytes(), 0);
}

TEST_F(HttpAdmissionTest, ASmallBodyThatNobodyReadsIsSkipped) {
    start();
    RawSocket socket(address());
    for (int i = 0; i < 3; ++i) {
        socket.send(post("/401", std::string(i * 20'000, 'x')));
        EXPECT_TRUE(socket.read_answer().starts_with("HTTP/1.1 401 "));
        socket.send(post("/0", "body"));
        EXPECT_TRUE(socket.read_answer().ends_with("POST /0 4 body"));
    }
}

TEST_F(HttpAdmissionTest, WhatMayBlockIsAskedAgainOnAPoolThread) {
    std::thread::id first;
    std::thread::id second;
    admit_ = [&](const RequestContext&, const HttpRequest&, HttpMayBlock may_block) {
        HttpAdmission admission;
        if (may_block == HttpMayBlock::kNo) {
            first = std::this_thread::get_id();
            admission.verdict = Verdict::kAskAgain;
            admission.lane = 1;
        } else {
            second = std::this_thread::get_id();
            EXPECT_EQ(lane(1).running, 1U);
            admission.ticket = std::make_shared<TestTicket>("somebody");
        }
        return admission;
    };
    start(options_, [](const RequestContext&, HttpRequest&& request) {
        return HttpResponse::text(200, static_cast<const TestTicket&>(*request.ticket).name);
    });
    EXPECT_TRUE(exchange(get("/", kClose)).ends_with("somebody"));
    EXPECT_NE(first, second);
    EXPECT_EQ(lane(1).running, 0U);
}

TEST_F(HttpAdmissionTest, ABusyLaneDoesNotBlockAnotherNorProbes) {
    start_holding();
    RawSocket running(address());
    running.send(get("/0hold", kClose));
    ASSERT_TRUE(entered_.wait());
    RawSocket waiting(address());
    waiting.send(get("/0", kClose));
    ASSERT_TRUE(eventually([&] { return lane(0).waiting == 1; }));
    const auto refused = exchange(get("/0", kClose));
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 429 ")) << refused;
    EXPECT_NE(refused.find("too many ingests: no more can wait"), std::string::npos) << refused;
    EXPECT_TRUE(exchange(get("/1", kClose)).ends_with("/1"));
    EXPECT_TRUE(exchange(get("/live", kClose)).ends_with("alive"));
    release_.set();
    EXPECT_TRUE(running.read_to_end().ends_with("/0hold"));
    EXPECT_TRUE(waiting.read_to_end().ends_with("/0"));
    EXPECT_EQ(limits(), std::vector<std::string>{"http.handler_queue_requests_max"});
}

TEST_F(HttpAdmissionTest, AWaitEndsWithItsClientOrItsTime) {
    options_.lanes[0].waiting_ms_max = 50;
    start_holding();
    RawSocket running(address());
    running.send(get("/0hold", kClose));
    ASSERT_TRUE(entered_.wait());
    const auto late = exchange(get("/0", kClose));
    EXPECT_TRUE(late.starts_with("HTTP/1.1 429 ")) << late;
    EXPECT_NE(late.find("none ended within 50 ms"), std::string::npos) << late;
    release_.set();
    EXPECT_TRUE(running.read_to_end().ends_with("/0hold"));
}

TEST_F(HttpAdmissionTest, AClientThatGoesWhileItWaitsLeavesTheQueue) {
    start_holding();
    RawSocket running(address());
    running.send(get("/0hold", kClose));
    ASSERT_TRUE(entered_.wait());
    RawSocket gone(address());
    gone.send(get("/0"));
    ASSERT_TRUE(eventually([&] { return lane(0).waiting == 1; }));
    gone.close();
    EXPECT_TRUE(eventually([&] { return lane(0).waiting == 0; }));
    EXPECT_TRUE(eventually([&] { return server_->stats().connections_open == 1; }));
    release_.set();
    EXPECT_TRUE(running.read_to_end().ends_with("/0hold"));
}

TEST_F(HttpAdmissionTest, ACancelledRequestDoesNotCancelTheNextOfItsConnection) {
    start(options_, [](const RequestContext& context, HttpRequest&& request) {
        const bool was_cancelled = context.cancel.cancelled() || request.cancel.cancelled();
        context.cancel.cancel();  // As cancelling a query by its id does.
        return HttpResponse::text(200, was_cancelled ? "cancelled" : "fresh");
    });
    RawSocket socket(address());
    for (int i = 0; i < 3; ++i) {
        socket.send(get("/0"));
        EXPECT_TRUE(socket.read_answer().ends_with("fresh")) << i;
    }
}

TEST_F(HttpAdmissionTest, AStreamKeepsItsPlaceUntilItsLastPieceIsMade) {
    start(options_, [&](const RequestContext&, HttpRequest&&) {
        HttpResponse response;
        response.stream = [&, left = 2](std::string& chunk) mutable -> Result<bool> {
            chunk = "piece";
            if (left == 1) {
                entered_.set();
                EXPECT_TRUE(release_.wait());
            }
            return left-- > 0;
        };
        return response;
    });
    RawSocket reader(address());
    reader.send(get("/1", kClose));
    ASSERT_TRUE(entered_.wait());
    EXPECT_EQ(lane(1).running, 1U);
    release_.set();
    EXPECT_TRUE(reader.read_to_end().ends_with("0\r\n\r\n"));
    EXPECT_EQ(lane(1).running, 0U);
}

using HttpAdmissionDeathTest = HttpAdmissionTest;

TEST_F(HttpAdmissionDeathTest, AnExceptionOnAnIoThreadEndsTheProcessWithItsText) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            admit_ = [](const RequestContext&, const HttpRequest&, HttpMayBlock) -> HttpAdmission {
                throw std::runtime_error("a bug of ours");
            };
            start();
            RawSocket socket(address());
            socket.send(get("/"));
            Event never;
            never.wait();
        },
        "a bug of ours");
}

}  // namespace
}  // namespace molesignal
