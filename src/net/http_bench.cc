// Measures how much the engine itself costs: MB of request bodies and requests per CPU-second of
// the server's threads. Prints a table. The argument, if any, selects loads by a part of their
// name.
#include <cstdio>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include "net/compression.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace molesignal {
namespace {

double cpu_seconds(int who) {
    rusage usage{};
    ::getrusage(who, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Load {
    const char* name;
    std::string body;
    std::vector<HttpHeader> headers;
    std::size_t raw_bytes;
    int requests;
    int connections;
};

void run(const Load& load, Clock& clock, Random& random) {
    std::atomic<std::uint64_t> received{0};
    auto server = HttpServer::start(
        {},
        [&](const RequestContext&, HttpRequest&& request) {
            received += request.body.size();
            return HttpResponse::json(200, "{\"accepted\":1}");
        },
        {},
        clock,
        random);
    if (!server) {
        std::printf("%s\n", server.error().message().c_str());
        return;
    }
    const auto url = "http://" + (*server)->addresses().front() + "/bench";
    const auto began = clock.steady_now();
    const auto before = cpu_seconds(RUSAGE_SELF);
    std::vector<double> client_cpu(static_cast<std::size_t>(load.connections));
    std::vector<std::thread> clients;
    for (auto& cpu : client_cpu) {
        clients.emplace_back([&] {
            HttpClient client({}, clock);
            const auto context = RequestContext::background(clock, "bench");
            const HttpClientRequest request{
                .method = "POST", .url = url, .headers = load.headers, .body = load.body};
            for (int i = 0; i < load.requests / load.connections; ++i) {
                const auto answer = client.request(context, request);
                if (!answer || answer->status != 200) {
                    std::printf("failed\n");
                    return;
                }
            }
            cpu = cpu_seconds(RUSAGE_THREAD);
        });
    }
    for (auto& client : clients) {
        client.join();
    }
    double server_cpu = cpu_seconds(RUSAGE_SELF) - before;
    for (const auto cpu : client_cpu) {
        server_cpu -= cpu;
    }
    const auto wall = static_cast<double>(clock.steady_now().value - began.value) / 1e9;
    std::printf("%-28s %8.0f MB/CPU-s %9.0f requests/CPU-s %8.0f MB/s %6.2f s server CPU\n",
                load.name,
                static_cast<double>(received) / 1e6 / server_cpu,
                load.requests / server_cpu,
                static_cast<double>(received) / 1e6 / wall,
                server_cpu);
}

std::string json_lines(std::size_t bytes, Random& random) {
    std::string text;
    while (text.size() < bytes) {
        text +=
            "{\"level\":\"info\",\"service\":\"checkout\",\"message\":\"order "
            "placed\",\"trace_id\":\"" +
            std::to_string(random.next_u64()) +
            "\",\"duration_ms\":" + std::to_string(random.next_u64() % 1000) + "}\n";
    }
    return text;
}

/// Only loads whose name contains `filter`.
void run_all(std::string_view filter) {
    SystemClock clock;
    SeededRandom random(1);
    const auto large = json_lines(8 << 20, random);
    const auto middle = json_lines(1 << 20, random);
    const auto small = json_lines(512, random);
    const auto encoded = [&](ContentCoding coding) {
        return compress_all(coding, as_bytes(middle)).value();
    };
    const std::vector<HttpHeader> gzip = {{"Content-Encoding", "gzip"}};
    const std::vector<HttpHeader> zstd = {{"Content-Encoding", "zstd"}};
    const std::vector<Load> loads = {
        {"8 MiB bodies, 1 connection", large, {}, large.size(), 500, 1},
        {"8 MiB bodies, 4 connections", large, {}, large.size(), 500, 4},
        {"1 MiB bodies, 4 connections", middle, {}, middle.size(), 4000, 4},
        {"1 MiB gzip, 4 connections", encoded(ContentCoding::kGzip), gzip, middle.size(), 400, 4},
        {"1 MiB zstd, 4 connections", encoded(ContentCoding::kZstd), zstd, middle.size(), 2000, 4},
        {"512 B bodies, 1 connection", small, {}, small.size(), 20'000, 1},
        {"512 B bodies, 16 connections", small, {}, small.size(), 100'000, 16},
    };
    for (const auto& load : loads) {
        if (std::string_view(load.name).find(filter) == std::string_view::npos) {
            continue;
        }
        run(load, clock, random);
    }
}

}  // namespace
}  // namespace molesignal

int main(int count, char** arguments) {
    molesignal::run_all(count > 1 ? arguments[1] : "");
}
