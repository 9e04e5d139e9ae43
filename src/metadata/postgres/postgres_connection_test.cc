#include "metadata/postgres/postgres_connection.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace molesignal {
namespace {

/// Speaks as much of Postgres' protocol as one connection needs: every statement succeeds and has
/// no rows. From `fall_silent` on it reads and answers nothing more.
class ScriptedServer {
public:
    ScriptedServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        EXPECT_EQ(::bind(listener_, generic, length), 0);
        EXPECT_EQ(::listen(listener_, 16), 0);
        EXPECT_EQ(::getsockname(listener_, generic, &length), 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ScriptedServer(const ScriptedServer&) = delete;
    ScriptedServer& operator=(const ScriptedServer&) = delete;
    ~ScriptedServer() {
        // Wakes the thread if it still waits for a client or for what a client sends.
        (void)::shutdown(listener_, SHUT_RDWR);
        (void)::shutdown(client_.load(), SHUT_RDWR);
        thread_.join();
        (void)::close(listener_);
    }

    std::string url() const {
        return "host=127.0.0.1 port=" + std::to_string(port_) +
               " user=u dbname=d sslmode=disable gssencmode=disable";
    }
    /// Not before the client has sent its last statement: `when_silent` runs when it arrives.
    void fall_silent(std::function<void()> when_silent = [] {}) {
        when_silent_ = std::move(when_silent);
        silent_.store(true);
    }
    /// Whether a second client wants to connect.
    bool somebody_knocks() const {
        pollfd waiting{.fd = listener_, .events = POLLIN, .revents = 0};
        return ::poll(&waiting, 1, 0) > 0;
    }

private:
    static std::string message(char kind, std::string_view body) {
        const auto size = htonl(static_cast<std::uint32_t>(body.size() + 4));
        std::string text(1, kind);
        text.append(reinterpret_cast<const char*>(&size), sizeof size);
        return text.append(body);
    }
    /// "in a transaction": what ReadyForQuery tells; a rollback then has something to do.
    static std::string done(std::string_view tag) {
        return message('C', std::string(tag) + '\0') + message('Z', "T");
    }

    bool read(char* data, std::size_t size) const {
        return size == 0 || ::recv(client_, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
    }
    bool read_body(std::string& body) const {
        std::uint32_t size = 0;
        if (!read(reinterpret_cast<char*>(&size), sizeof size)) {
            return false;
        }
        body.resize(ntohl(size) - sizeof size);
        return read(body.data(), body.size());
    }
    void write(std::string_view text) const {
        EXPECT_EQ(::send(client_, text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }

    void serve() {
        client_ = ::accept(listener_, nullptr, nullptr);
        std::string body;
        if (client_ < 0 || !read_body(body)) {
            return;
        }
        write(message('R', std::string(4, '\0')) + message('Z', "I"));
        char kind = 0;
        while (read(&kind, 1) && read_body(body)) {
            const bool statement_ends = kind == 'Q' || kind == 'S';
            if (statement_ends && silent_) {
                when_silent_();
            } else if (kind == 'Q') {
                write(done("BEGIN"));
            } else if (kind == 'S') {
                write(message('1', "") + message('2', "") + message('n', "") + done("SELECT 0"));
            }
        }
        (void)::close(client_.exchange(-1));
    }

    int listener_;
    int port_ = 0;
    std::atomic<int> client_{-1};
    std::atomic<bool> silent_{false};
    std::function<void()> when_silent_;
    std::thread thread_;
};

class PostgresConnectionTest : public testing::Test {
protected:
    ScriptedServer server_;
    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
};

TEST_F(PostgresConnectionTest, ServerWithoutTheSettingIsAccepted) {
    auto connection = open_postgres_connection(context_, server_.url());
    ASSERT_TRUE(connection) << connection.error().message();
    EXPECT_TRUE((*connection)->begin(context_, SqlAccess::kRead));
    EXPECT_TRUE((*connection)->query(context_, "SELECT 1", {}));
    EXPECT_TRUE((*connection)->usable());
}

TEST_F(PostgresConnectionTest, CancelledStatementAsksNoSecondConnectionOfASilentServer) {
    auto connection = open_postgres_connection(context_, server_.url()).value();
    ASSERT_TRUE(connection->begin(context_, SqlAccess::kWrite));
    auto cancelled = context_;
    server_.fall_silent([&] { cancelled.cancel.cancel(); });
    const auto rows = connection->query(cancelled, "SELECT 1", {});
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().code(), ErrorCode::kCancelled);
    EXPECT_FALSE(connection->usable());
    connection->rollback();
    EXPECT_FALSE(server_.somebody_knocks());
}

TEST_F(PostgresConnectionTest, RollbackLeavesASilentServer) {
    auto connection = open_postgres_connection(context_, server_.url()).value();
    ASSERT_TRUE(connection->begin(context_, SqlAccess::kWrite));
    server_.fall_silent();
    connection->rollback();
    EXPECT_FALSE(connection->usable());
}

TEST_F(PostgresConnectionTest, ServerNoticesAClosedConnection) {
    const char* url = std::getenv("MS_TEST_POSTGRES_URL");
    if (url == nullptr) {
        GTEST_SKIP() << "MS_TEST_POSTGRES_URL is not set";
    }
    auto connection = open_postgres_connection(context_, url).value();
    const auto rows = connection->query(
        context_,
        "SELECT setting FROM pg_settings WHERE name = 'client_connection_check_interval'",
        {});
    ASSERT_TRUE(rows) << rows.error().message();
    // Servers before version 14 do not know it.
    if (!rows->empty()) {
        EXPECT_EQ(rows->text(0, 0), "1000");
    }
}

}  // namespace
}  // namespace molesignal
