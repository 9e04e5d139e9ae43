// How long an acknowledgement takes, and how long the disk alone would take:
//
//   ack_latency --http ADDR:PORT --directory DIR [--writers N] [--requests N] [--rows N]
//
// Sends small requests over `writers` connections, each waiting for its answer, then lets as many
// threads append 256 bytes each and share fdatasync calls on a preallocated file in DIR: what a
// group commit costs without a server. Prints one JSON object, times in microseconds.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    std::string http;
    std::string directory;
    int writers = 16;
    int requests = 500;
    int rows = 1;
};

[[noreturn]] void fail(const std::string& what) {
    fmt::print(stderr, "ack_latency: {}: {}\n", what, std::strerror(errno));
    std::exit(1);
}

std::int64_t micros_since(Clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
}

/// Runs `work` on each writer's thread; returns all times.
template <class Work>
std::vector<std::int64_t> run_writers(const Options& options, Work work) {
    std::vector<std::int64_t> all;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < options.writers; ++writer) {
        threads.emplace_back([&, writer] {
            auto times = work(writer);
            const std::lock_guard lock(mutex);
            all.insert(all.end(), times.begin(), times.end());
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::ranges::sort(all);
    return all;
}

int connect_to(const std::string& address) {
    const auto colon = address.rfind(':');
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
    if (::inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr) != 1) {
        fail("--http wants an IPv4 address and a port");
    }
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&target), sizeof target) != 0) {
        fail("connect " + address);
    }
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket;
}

/// Sends `request` and reads one answer, whose status must be 200.
void exchange(int socket, const std::string& request, std::string& buffer) {
    for (std::size_t sent = 0; sent < request.size();) {
        const auto put = ::send(socket, request.data() + sent, request.size() - sent, 0);
        if (put <= 0) {
            fail("send");
        }
        sent += static_cast<std::size_t>(put);
    }
    buffer.clear();
    std::size_t wanted = std::string::npos;
    while (buffer.size() < wanted) {
        char piece[4096];
        const auto got = ::recv(socket, piece, sizeof piece, 0);
        if (got <= 0) {
            fail("recv");
        }
        buffer.append(piece, static_cast<std::size_t>(got));
        if (const auto head = buffer.find("\r\n\r\n");
            wanted == std::string::npos && head != std::string::npos) {
            const auto at = buffer.find("Content-Length: ");
            wanted = head + 4 + std::stoul(buffer.substr(at + 16));
        }
    }
    if (buffer.compare(0, 12, "HTTP/1.1 200") != 0) {
        fail("answer: " + buffer.substr(0, 200));
    }
}

std::vector<std::int64_t> acknowledgements(const Options& options) {
    std::string body;
    for (int row = 0; row < options.rows; ++row) {
        body +=
            R"({"level":"info","service":"latency","message":")" + std::string(120, 'x') + "\"}\n";
    }
    const auto request = fmt::format(
        "POST /api/v1/ingest/logs/latency HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
        "{}\r\n\r\n{}",
        body.size(),
        body);
    return run_writers(options, [&](int) {
        const int socket = connect_to(options.http);
        std::vector<std::int64_t> times;
        std::string buffer;
        for (int i = 0; i < options.requests; ++i) {
            const auto begin = Clock::now();
            exchange(socket, request, buffer);
            times.push_back(micros_since(begin));
        }
        ::close(socket);
        return times;
    });
}

/// Appends that share syncs, as in the server's log.
class BareLog {
public:
    explicit BareLog(const std::string& path)
        : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)) {
        if (file_ < 0 || ::posix_fallocate(file_, 0, off_t{64} << 20) != 0 || ::fsync(file_) != 0) {
            fail("prepare " + path);
        }
    }
    ~BareLog() { ::close(file_); }

    void commit() {
        static const std::string record(256, 'r');
        std::unique_lock lock(mutex_);
        const auto mine = ++written_;
        if (::pwrite(file_,
                     record.data(),
                     record.size(),
                     static_cast<off_t>((mine - 1) * record.size())) < 0) {
            fail("write");
        }
        while (durable_ < mine) {
            if (syncing_) {
                synced_.wait(lock);
                continue;
            }
            syncing_ = true;
            const auto target = written_;
            lock.unlock();
            if (::fdatasync(file_) != 0) {
                fail("fdatasync");
            }
            lock.lock();
            syncing_ = false;
            durable_ = target;
            synced_.notify_all();
        }
    }

private:
    int file_;
    std::mutex mutex_;
    std::condition_variable synced_;
    std::size_t written_ = 0;
    std::size_t durable_ = 0;
    bool syncing_ = false;
};

std::vector<std::int64_t> bare_commits(const Options& options) {
    const auto path = options.directory + "/bare-log";
    std::vector<std::int64_t> all;
    {
        BareLog log(path);
        all = run_writers(options, [&](int) {
            std::vector<std::int64_t> times;
            for (int i = 0; i < options.requests; ++i) {
                const auto begin = Clock::now();
                log.commit();
                times.push_back(micros_since(begin));
            }
            return times;
        });
    }
    ::unlink(path.c_str());
    return all;
}

std::string show(const std::vector<std::int64_t>& times) {
    const auto at = [&times](double share) {
        return times[std::min(times.size() - 1,
                              static_cast<std::size_t>(static_cast<double>(times.size()) * share))];
    };
    return fmt::format(
        R"({{"p50":{},"p90":{},"p99":{},"max":{}}})", at(0.5), at(0.9), at(0.99), times.back());
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        const std::string value = argv[i + 1];
        if (name == "--http") {
            options.http = value;
        } else if (name == "--directory") {
            options.directory = value;
        } else if (name == "--writers") {
            options.writers = std::stoi(value);
        } else if (name == "--requests") {
            options.requests = std::stoi(value);
        } else if (name == "--rows") {
            options.rows = std::stoi(value);
        } else {
            fmt::print(stderr, "ack_latency: unknown option {}\n", name);
            std::exit(2);
        }
    }
    if (options.http.empty() || options.directory.empty()) {
        fmt::print(stderr, "ack_latency: --http and --directory are needed\n");
        std::exit(2);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse(argc, argv);
    const auto bare = bare_commits(options);
    const auto acknowledged = acknowledgements(options);
    fmt::print("{{\"writers\":{},\"acknowledgement_us\":{},\"bare_commit_us\":{}}}\n",
               options.writers,
               show(acknowledged),
               show(bare));
    return 0;
}
