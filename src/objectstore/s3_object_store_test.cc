#include "objectstore/s3_object_store.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/random.h"
#include "io/memory_fs.h"
#include "objectstore/s3_fixture.h"

namespace molesignal {
namespace {

struct Parts {
    MemoryFs memory;
    SystemRandom random;
    SystemClock clock;
};

class S3ObjectStoreTest : public testing::Test {
protected:
    void SetUp() override { ensure_s3_library(); }
    Result<std::unique_ptr<ObjectStore>> open(const S3Options& options) {
        return S3ObjectStore::open(options, parts_.memory, parts_.clock, parts_.random);
    }
    void expect_refused(const S3Options& options, std::string_view setting) {
        const auto opened = open(options);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code(), ErrorCode::kInvalidArgument);
        EXPECT_NE(opened.error().message().find(setting), std::string::npos)
            << opened.error().message();
    }

    Parts parts_;
    RequestContext context_ = RequestContext::background(parts_.clock, "test");
    S3Options good_{.endpoint = "http://127.0.0.1:1",
                    .bucket = "b",
                    .access_key = "k",
                    .secret_key = "s",
                    .max_attempts = 1};
};

TEST_F(S3ObjectStoreTest, WrongSettingsAreNamed) {
    auto options = good_;
    options.bucket = "";
    expect_refused(options, "store.object.bucket");
    options = good_;
    options.endpoint = "127.0.0.1:9000";
    expect_refused(options, "store.object.endpoint");
    options.endpoint = "http://host/path";
    expect_refused(options, "store.object.endpoint");
    options = good_;
    options.prefix = "a//b";
    expect_refused(options, "store.object.prefix");
    options = good_;
    options.secret_key = "";
    expect_refused(options, "store.object.secret_key");
    options = good_;
    options.max_concurrency = 0;
    expect_refused(options, "store.object.max_concurrency");
    EXPECT_EQ(S3Library::start().error().code(), ErrorCode::kConflict);
}

TEST_F(S3ObjectStoreTest, DescribesBucketAndPrefix) {
    auto options = good_;
    EXPECT_EQ(open(options).value()->describe(), "s3 b");
    options.prefix = "/x/y/";
    EXPECT_EQ(open(options).value()->describe(), "s3 b/x/y");
}

TEST_F(S3ObjectStoreTest, ServerThatIsDownIsUnavailable) {
    const auto store = open(good_).value();
    const auto put = store->put(context_, "k", as_bytes("v"));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code(), ErrorCode::kUnavailable) << put.error().message();
}

/// A server that accepts and never answers.
class SilentServer {
public:
    SilentServer() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        EXPECT_EQ(::bind(socket_, generic, length), 0);
        EXPECT_EQ(::listen(socket_, 16), 0);
        EXPECT_EQ(::getsockname(socket_, generic, &length), 0);
        port_ = ntohs(address.sin_port);
    }
    ~SilentServer() { close(); }
    void close() {
        if (socket_ >= 0) {
            ::close(std::exchange(socket_, -1));
        }
    }
    std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

private:
    int socket_;
    int port_ = 0;
};

TEST_F(S3ObjectStoreTest, CallerLeavesASilentServerAtItsDeadline) {
    SilentServer server;
    auto options = good_;
    options.endpoint = server.endpoint();
    options.max_concurrency = 1;
    const auto store = open(options).value();
    auto hurried = context_;
    hurried.deadline = parts_.clock.steady_now() + std::chrono::milliseconds(50);
    EXPECT_EQ(store->head(hurried, "k").error().code(), ErrorCode::kTimeout);
    // The abandoned operation still has the only place.
    hurried.deadline = parts_.clock.steady_now() + std::chrono::milliseconds(50);
    const auto second = store->head(hurried, "k");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kTimeout);
    server.close();
}

TEST_F(S3ObjectStoreTest, SilentServerDoesNotKeepTheStoreOpen) {
    const SilentServer server;
    auto options = good_;
    options.endpoint = server.endpoint();
    options.op_timeout = std::chrono::seconds(1);
    auto store = open(options).value();
    const auto head = store->head(context_, "k");
    ASSERT_FALSE(head);
    EXPECT_EQ(head.error().code(), ErrorCode::kTimeout);
    EXPECT_NE(head.error().message().find("store.object.op_timeout_secs"), std::string::npos)
        << head.error().message();
    // Waits for the abandoned request, which has a time-out of its own.
    store.reset();
}

TEST_F(S3ObjectStoreTest, WrongSecretIsForbidden) {
    auto options = s3_test_options();
    if (options.endpoint.empty()) {
        GTEST_SKIP() << "no S3 server: run with tests/support/s3_server.py";
    }
    options.secret_key = "wrong";
    const auto store = open(options).value();
    const auto put = store->put(context_, "k", as_bytes("v"));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code(), ErrorCode::kForbidden) << put.error().message();
}

}  // namespace
}  // namespace molesignal
