#pragma once

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace molesignal {

/// A plain client socket for tests that care about every byte. Reads give up after 10 s.
class RawSocket {
public:
    /// `address` is "127.0.0.1:port".
    explicit RawSocket(const std::string& address, int receive_buffer_bytes = 0) {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (receive_buffer_bytes > 0) {
            ::setsockopt(
                fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
        }
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port =
            htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
        ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    }
    ~RawSocket() { close(); }
    RawSocket(const RawSocket&) = delete;
    RawSocket& operator=(const RawSocket&) = delete;

    void close() {
        if (fd_ >= 0) {
            ::close(fd_);
            fd_ = -1;
        }
    }

    /// False once the server does not take it.
    bool send(std::string_view data) {
        while (!data.empty()) {
            const auto sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
            if (sent < 0) {
                return false;
            }
            data.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    void end_sending() { ::shutdown(fd_, SHUT_WR); }

    /// All bytes until `text` has been seen (included), or until the end.
    std::string read_until(std::string_view text) {
        while (in_.find(text) == std::string::npos && fill()) {
        }
        const auto at = in_.find(text);
        const auto out = in_.substr(0, at == std::string::npos ? at : at + text.size());
        in_.erase(0, out.size());
        return out;
    }

    std::string read_to_end() {
        while (fill()) {
        }
        return std::exchange(in_, {});
    }

    /// One answer with Content-Length: head and body.
    std::string read_answer() {
        auto out = read_until("\r\n\r\n");
        const auto at = out.find("Content-Length: ");
        const auto size =
            at == std::string::npos ? 0 : std::strtoul(out.c_str() + at + 16, nullptr, 10);
        while (in_.size() < size && fill()) {
        }
        out += in_.substr(0, size);
        in_.erase(0, size);
        return out;
    }

    /// Reads once and forgets what came.
    void read_some() {
        fill();
        in_.clear();
    }

    bool closed_by_server() { return in_.empty() && !fill(); }

private:
    bool fill() {
        pollfd entry{fd_, POLLIN, 0};
        if (::poll(&entry, 1, 10'000) <= 0) {
            ADD_FAILURE() << "nothing from the server for 10 s; so far: " << in_.substr(0, 200);
            return false;
        }
        char buffer[65536];
        const auto size = ::recv(fd_, buffer, sizeof buffer, 0);
        if (size <= 0) {
            return false;
        }
        in_.append(buffer, static_cast<std::size_t>(size));
        return true;
    }

    int fd_ = -1;
    std::string in_;
};

}  // namespace molesignal
