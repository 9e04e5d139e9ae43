// Which requests the S3 store makes, and what it does when one of them fails: against a server in
// this process that answers as it is told.
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <functional>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mutex.h"
#include "common/random.h"
#include "io/memory_fs.h"
#include "objectstore/s3_fixture.h"

namespace molesignal {
namespace {

/// HTTP/1.1 on loopback, one thread for each connection.
class ScriptedServer {
public:
    struct Request {
        std::string method;
        std::string target;  ///< Path and query.
        std::string headers;
    };
    /// Status line, headers and body of the answer.
    using Answer = std::function<std::string(const Request&)>;

    explicit ScriptedServer(Answer answer)
        : answer_(std::move(answer)), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        EXPECT_EQ(::bind(socket_, generic, length), 0);
        EXPECT_EQ(::listen(socket_, 16), 0);
        EXPECT_EQ(::getsockname(socket_, generic, &length), 0);
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ScriptedServer(const ScriptedServer&) = delete;
    ScriptedServer& operator=(const ScriptedServer&) = delete;
    ~ScriptedServer() {
        ::shutdown(socket_, SHUT_RDWR);
        acceptor_.join();
        ::close(socket_);
        for (auto& [thread, connection] : connections_) {
            ::shutdown(connection, SHUT_RDWR);
            thread.join();
            ::close(connection);
        }
    }
    std::string endpoint() const { return fmt::format("http://127.0.0.1:{}", port_); }
    /// "METHOD target" of all requests so far, and forgets them.
    std::vector<std::string> take() {
        const MutexLock lock(mutex_);
        return std::exchange(seen_, {});
    }

private:
    /// One past the chunks that begin at `at`; SIZE_MAX if they are not all there.
    static std::size_t end_of_chunks(const std::string& buffer, std::size_t at) {
        while (true) {
            const auto line_end = buffer.find("\r\n", at);
            if (line_end == std::string::npos) {
                return SIZE_MAX;
            }
            std::size_t size = 0;
            std::from_chars(buffer.data() + at, buffer.data() + line_end, size, 16);
            at = line_end + 2 + size + 2;
            if (at > buffer.size()) {
                return SIZE_MAX;
            }
            if (size == 0) {
                return at;
            }
        }
    }
    void accept_all() {
        while (true) {
            const int connection = ::accept(socket_, nullptr, nullptr);
            if (connection < 0) {
                return;
            }
            connections_.emplace_back(std::thread([this, connection] { serve(connection); }),
                                      connection);
        }
    }
    void serve(int connection) {
        std::string buffer;
        std::array<char, 65536> piece{};
        const auto read_until = [&](const auto& complete) {
            while (!complete()) {
                const auto got = ::recv(connection, piece.data(), piece.size(), 0);
                if (got <= 0) {
                    return false;
                }
                buffer.append(piece.data(), static_cast<std::size_t>(got));
            }
            return true;
        };
        const auto send = [&](std::string_view text) {
            (void)::send(connection, text.data(), text.size(), MSG_NOSIGNAL);
        };
        while (read_until([&] { return buffer.find("\r\n\r\n") != std::string::npos; })) {
            const auto head_end = buffer.find("\r\n\r\n") + 4;
            Request request;
            request.headers = buffer.substr(0, head_end);
            const auto space = request.headers.find(' ');
            request.method = request.headers.substr(0, space);
            request.target =
                request.headers.substr(space + 1, request.headers.find(' ', space + 1) - space - 1);
            std::size_t length = 0;
            for (const auto* name : {"\r\ncontent-length: ", "\r\nContent-Length: "}) {
                if (const auto at = request.headers.find(name); at != std::string::npos) {
                    const auto* begin = request.headers.data() + at + 18;
                    std::from_chars(begin, request.headers.data() + head_end, length);
                }
            }
            if (request.headers.find("100-continue") != std::string::npos) {
                send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            const bool chunked =
                request.headers.find("ransfer-encoding: chunked") != std::string::npos;
            const auto body_end = [&] {
                return chunked ? end_of_chunks(buffer, head_end) : head_end + length;
            };
            if (!read_until([&] { return body_end() <= buffer.size(); })) {
                return;
            }
            buffer.erase(0, body_end());
            {
                const MutexLock lock(mutex_);
                seen_.push_back(request.method + " " + request.target);
            }
            send(answer_(request));
        }
    }

    Answer answer_;
    int socket_;
    int port_ = 0;
    std::thread acceptor_;
    std::vector<std::pair<std::thread, int>> connections_;  // The acceptor's until it has ended.
    Mutex mutex_;
    std::vector<std::string> seen_ MS_GUARDED_BY(mutex_);
};

std::string answer(int status, std::string_view headers, std::string_view body = "") {
    return fmt::format(
        "HTTP/1.1 {} Status\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), headers, body);
}

class S3RequestsTest : public testing::Test {
protected:
    void SetUp() override { ensure_s3_library(); }
    std::unique_ptr<ObjectStore> open(const ScriptedServer& server) {
        return S3ObjectStore::open({.endpoint = server.endpoint(),
                                    .bucket = "b",
                                    .access_key = "k",
                                    .secret_key = "s",
                                    .max_attempts = 1},
                                   memory_,
                                   clock_,
                                   random_)
            .value();
    }

    MemoryFs memory_;
    SystemRandom random_;
    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
};

TEST_F(S3RequestsTest, TheSizeOfAnObjectIsAskedForOnce) {
    const std::string body = "0123456789";
    ScriptedServer server([&](const ScriptedServer::Request& request) {
        if (request.method == "HEAD") {
            return fmt::format(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n"
                "ETag: \"781e5e245d69b566979b86e28d23f2c7\"\r\n\r\n",
                body.size());
        }
        return answer(206, "Content-Range: bytes 2-4/10\r\n", body.substr(2, 3));
    });
    const auto store = open(server);
    const auto meta = store->head(context_, "key");
    ASSERT_TRUE(meta) << meta.error().message();
    EXPECT_EQ((*meta)->size_bytes, 10U);
    EXPECT_EQ((*meta)->md5_hex, "781e5e245d69b566979b86e28d23f2c7");
    for (int i = 0; i < 3; ++i) {
        const auto got = store->get(context_, "key", 2, 3);
        ASSERT_TRUE(got) << got.error().message();
        EXPECT_EQ(as_text(*got), "234");
    }
    EXPECT_EQ(server.take(),
              (std::vector<std::string>{"HEAD /b/key", "GET /b/key", "GET /b/key", "GET /b/key"}));
    EXPECT_EQ(store->get(context_, "key", 11, 1).error().code(), ErrorCode::kInvalidArgument);
    EXPECT_TRUE(server.take().empty());
}

/// A server of multipart uploads where requests that contain `failing` fail.
ScriptedServer::Answer failing_at(std::string failing) {
    return [failing = std::move(failing)](const ScriptedServer::Request& request) {
        if ((request.method + " " + request.target).find(failing) != std::string::npos) {
            return answer(500, "", "<Error><Code>InternalError</Code></Error>");
        }
        if (request.method == "POST") {
            return answer(200,
                          "",
                          "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>key</Key>"
                          "<UploadId>u1</UploadId></InitiateMultipartUploadResult>");
        }
        return answer(request.method == "DELETE" ? 204 : 200, "ETag: \"1\"\r\n");
    };
}

TEST_F(S3RequestsTest, AnUploadThatFailsInTheMiddleIsAborted) {
    ScriptedServer server(failing_at("PUT /b/key?partNumber=1"));
    const auto store = open(server);
    // More than one part of the client library.
    EXPECT_FALSE(store->put(context_, "key", ByteBuffer(24U << 20U)));
    EXPECT_EQ(server.take().back(), "DELETE /b/key?uploadId=u1");
}

TEST_F(S3RequestsTest, AnUploadThatCannotBeCompletedIsNotCompletedLater) {
    ScriptedServer server(failing_at("POST /b/key?uploadId=u1"));
    const auto store = open(server);
    EXPECT_FALSE(store->put(context_, "key", ByteBuffer(24U << 20U)));
    EXPECT_EQ(std::ranges::count(server.take(), std::string("POST /b/key?uploadId=u1")), 1);
}

TEST_F(S3RequestsTest, NotFoundFromAWrongBucketIsNotARemoval) {
    std::atomic<bool> bucket_exists = true;
    ScriptedServer server([&](const ScriptedServer::Request& request) {
        const bool is_bucket = request.target == "/b" || request.target == "/b/";
        return is_bucket && bucket_exists ? answer(200, "") : answer(404, "");
    });
    const auto store = open(server);
    EXPECT_TRUE(store->remove(context_, "key")) << "gone already";
    bucket_exists = false;
    const auto removed = store->remove(context_, "key");
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code(), ErrorCode::kUnavailable);
    EXPECT_NE(removed.error().message().find("no such bucket"), std::string::npos);
}

}  // namespace
}  // namespace molesignal
