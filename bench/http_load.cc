// Offers load to a server over HTTP for a time, and says what became of it:
//
//   http_load --http ADDR:PORT --path PATH --body FILE [--writers N] [--seconds S] [--pause-ms P]
//
// Each writer sends the file's content as a request and waits for the answer; after 429 or 503 it
// waits Retry-After, at most one second, and sends again. Prints one JSON object: answers by
// status, broken connections, bytes of bodies that were acknowledged, and times of those answers in
// microseconds.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    std::string http;
    std::string path;
    std::string body_file;
    int writers = 4;
    int seconds = 10;
    int pause_ms = 0;
};

struct Report {
    std::map<int, std::uint64_t> answers;
    std::uint64_t broken = 0;
    std::uint64_t acknowledged_bytes = 0;
    std::vector<std::int64_t> times;
};

struct Answer {
    int status = 0;
    int retry_after = 0;
    bool closes = false;
};

int connect_to(const std::string& address) {
    const auto colon = address.rfind(':');
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
    ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr);
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&target), sizeof target) != 0) {
        if (socket >= 0) {
            ::close(socket);
        }
        return -1;
    }
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket;
}

int header_number(const std::string& head, const char* name) {
    const auto at = head.find(name);
    return at == std::string::npos ? 0 : std::atoi(head.c_str() + at + std::strlen(name));
}

/// One request and its answer; nothing if the connection broke.
std::optional<Answer> exchange(int socket, const std::string& request, std::string& buffer) {
    for (std::size_t sent = 0; sent < request.size();) {
        const auto put = ::send(socket, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
        if (put <= 0) {
            return std::nullopt;
        }
        sent += static_cast<std::size_t>(put);
    }
    buffer.clear();
    std::size_t wanted = std::string::npos;
    while (buffer.size() < wanted) {
        char piece[4096];
        const auto got = ::recv(socket, piece, sizeof piece, 0);
        if (got <= 0) {
            return std::nullopt;
        }
        buffer.append(piece, static_cast<std::size_t>(got));
        const auto head = buffer.find("\r\n\r\n");
        if (wanted == std::string::npos && head != std::string::npos) {
            wanted =
                head + 4 + static_cast<std::size_t>(header_number(buffer, "\r\nContent-Length: "));
        }
    }
    return Answer{.status = std::atoi(buffer.c_str() + 9),
                  .retry_after = header_number(buffer, "\r\nRetry-After: "),
                  .closes = buffer.find("\r\nConnection: close") != std::string::npos};
}

void run_writer(const Options& options,
                const std::string& request,
                std::size_t body_bytes,
                Clock::time_point end,
                Report& report) {
    int socket = -1;
    std::string buffer;
    while (Clock::now() < end) {
        if (socket < 0 && (socket = connect_to(options.http)) < 0) {
            ++report.broken;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            continue;
        }
        const auto begin = Clock::now();
        const auto answer = exchange(socket, request, buffer);
        if (!answer) {
            ++report.broken;
            ::close(socket);
            socket = -1;
            continue;
        }
        ++report.answers[answer->status];
        if (answer->closes) {
            ::close(socket);
            socket = -1;
        }
        if (answer->status == 200) {
            report.acknowledged_bytes += body_bytes;
            report.times.push_back(
                std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin)
                    .count());
        } else if (answer->status == 429 || answer->status == 503) {
            std::this_thread::sleep_for(
                std::chrono::milliseconds(std::clamp(answer->retry_after * 1000, 50, 1000)));
        }
        if (options.pause_ms > 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms));
        }
    }
    if (socket >= 0) {
        ::close(socket);
    }
}

void show(const Options& options, Report& report) {
    std::ranges::sort(report.times);
    const auto at = [&report](double share) {
        return report.times.empty()
                   ? 0
                   : report.times[std::min(report.times.size() - 1,
                                           static_cast<std::size_t>(
                                               static_cast<double>(report.times.size()) * share))];
    };
    std::string answers;
    for (const auto& [status, count] : report.answers) {
        answers += fmt::format("{}\"{}\":{}", answers.empty() ? "" : ",", status, count);
    }
    fmt::print(
        R"({{"writers":{},"seconds":{},"answers":{{{}}},"broken":{},"acknowledged_bytes":{},)"
        R"("us":{{"p50":{},"p99":{},"max":{}}}}})"
        "\n",
        options.writers,
        options.seconds,
        answers,
        report.broken,
        report.acknowledged_bytes,
        at(0.5),
        at(0.99),
        at(1));
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        const std::string value = argv[i + 1];
        if (name == "--http") {
            options.http = value;
        } else if (name == "--path") {
            options.path = value;
        } else if (name == "--body") {
            options.body_file = value;
        } else if (name == "--writers") {
            options.writers = std::stoi(value);
        } else if (name == "--seconds") {
            options.seconds = std::stoi(value);
        } else if (name == "--pause-ms") {
            options.pause_ms = std::stoi(value);
        } else {
            fmt::print(stderr, "http_load: unknown option {}\n", name);
            std::exit(2);
        }
    }
    if (options.http.empty() || options.path.empty() || options.body_file.empty()) {
        fmt::print(stderr, "http_load: --http, --path and --body are needed\n");
        std::exit(2);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse(argc, argv);
    std::ifstream file(options.body_file, std::ios::binary);
    const std::string body((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    const auto request =
        fmt::format("POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{}",
                    options.path,
                    body.size(),
                    body);
    const auto end = Clock::now() + std::chrono::seconds(options.seconds);
    Report total;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < options.writers; ++writer) {
        threads.emplace_back([&] {
            Report own;
            run_writer(options, request, body.size(), end, own);
            const std::lock_guard lock(mutex);
            for (const auto& [status, count] : own.answers) {
                total.answers[status] += count;
            }
            total.broken += own.broken;
            total.acknowledged_bytes += own.acknowledged_bytes;
            total.times.insert(total.times.end(), own.times.begin(), own.times.end());
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    show(options, total);
    return 0;
}
