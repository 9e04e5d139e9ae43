// Generates realistic JSON logs: 12 fields, services of different size, messages from templates
// with numbers, ids and paths; repeatable by seed.
//
//   loggen --rows 1000000 --seed 1 --start-us 1790000000000000 > logs.ndjson
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

/// splitmix64.
class Rng {
public:
    explicit Rng(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        auto z = state_;
        z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31U);
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    /// Small numbers much more often than large ones.
    std::uint64_t skewed(std::uint64_t bound) {
        const auto a = below(bound);
        const auto b = below(bound);
        return a < b ? a : b;
    }

private:
    std::uint64_t state_;
};

constexpr std::array<std::string_view, 12> kServices = {"checkout",
                                                        "cart",
                                                        "payments",
                                                        "frontend",
                                                        "catalog",
                                                        "shipping",
                                                        "search",
                                                        "accounts",
                                                        "email",
                                                        "ads",
                                                        "currency",
                                                        "recommend"};
constexpr std::array<std::string_view, 8> kPaths = {"/api/v1/orders",
                                                    "/api/v1/cart/items",
                                                    "/api/v1/products",
                                                    "/api/v1/users",
                                                    "/health",
                                                    "/api/v1/search",
                                                    "/static/app.js",
                                                    "/api/v1/payments/authorize"};
constexpr std::array<std::string_view, 5> kMethods = {"GET", "GET", "GET", "POST", "PUT"};
constexpr std::array<std::string_view, 10> kWords = {"order",
                                                     "customer",
                                                     "session",
                                                     "inventory",
                                                     "invoice",
                                                     "basket",
                                                     "address",
                                                     "voucher",
                                                     "shipment",
                                                     "refund"};

void append_hex(std::string& out, Rng& rng, int digits) {
    constexpr std::string_view kHex = "0123456789abcdef";
    std::uint64_t bits = 0;
    for (int i = 0; i < digits; ++i) {
        if (i % 16 == 0) {
            bits = rng.next();
        }
        out.push_back(kHex[bits & 15U]);
        bits >>= 4U;
    }
}

void append_message(std::string& out,
                    Rng& rng,
                    std::string_view level,
                    std::string_view path,
                    std::uint64_t took_us) {
    const auto word = kWords[rng.skewed(kWords.size())];
    switch (rng.below(level == "error" ? 3 : 7)) {
        case 0:
            out += "failed to load ";
            out += word;
            out += " " + std::to_string(rng.below(900'000)) + ": connection refused by 10.4." +
                   std::to_string(rng.below(16)) + "." + std::to_string(rng.below(255)) +
                   ":5432 after " + std::to_string(rng.below(5) + 1) + " attempts";
            break;
        case 1:
            out += "timeout while waiting for lock on ";
            out += word;
            out += " table, transaction " + std::to_string(rng.below(10'000'000)) + " rolled back";
            break;
        case 2:
            out += "unexpected status 502 from upstream for ";
            out += path;
            out += ", retrying with backoff of " + std::to_string(50U << rng.below(6)) +
                   " ms, circuit breaker is half open";
            break;
        case 3:
            out += "request handled: ";
            out += path;
            out += " took " + std::to_string(took_us) + " us, cache hit ratio " +
                   std::to_string(rng.below(100)) + "%, " + std::to_string(rng.below(40)) +
                   " rows returned from replica";
            break;
        case 4:
            out += "user session refreshed, token expires in " + std::to_string(rng.below(3600)) +
                   " seconds, device fingerprint ";
            append_hex(out, rng, 12);
            break;
        case 5:
            out += "updated ";
            out += word;
            out +=
                " " + std::to_string(rng.below(900'000)) + " with version " +
                std::to_string(rng.below(50)) + ", published event to topic orders.v2 partition " +
                std::to_string(rng.below(24)) + " offset " + std::to_string(rng.below(90'000'000));
            break;
        default:
            out += "scheduled background job ";
            out += word;
            out += "-sync for shard " + std::to_string(rng.below(64)) + ", queue depth is " +
                   std::to_string(rng.skewed(500)) + ", next run in " +
                   std::to_string(rng.below(300)) + " s";
    }
}

void append_row(std::string& out, Rng& rng, std::int64_t time_us) {
    const auto dice = rng.below(100);
    const std::string_view level = dice < 70   ? "info"
                                   : dice < 85 ? "debug"
                                   : dice < 95 ? "warn"
                                               : "error";
    const auto service = kServices[rng.skewed(kServices.size())];
    const auto path = kPaths[rng.skewed(kPaths.size())];
    const auto took_us = 200 + rng.skewed(1000) * rng.skewed(1000);
    const int status = level == "error"     ? 500 + static_cast<int>(rng.below(4))
                       : rng.below(20) == 0 ? 404
                                            : 200;
    out += "{\"_timestamp\":" + std::to_string(time_us) + ",\"level\":\"";
    out += level;
    out += "\",\"service\":\"";
    out += service;
    out += "\",\"host\":\"ip-10-2-" + std::to_string(rng.below(4)) + "-" +
           std::to_string(rng.below(32)) + ".internal\",\"method\":\"";
    out += kMethods[rng.below(kMethods.size())];
    out += "\",\"path\":\"";
    out += path;
    out += "\",\"status\":" + std::to_string(status) +
           ",\"duration_us\":" + std::to_string(took_us) + ",\"trace_id\":\"";
    append_hex(out, rng, 32);
    out += "\",\"span_id\":\"";
    append_hex(out, rng, 16);
    out += "\",\"user_id\":\"user-" + std::to_string(rng.skewed(50'000)) + "\",\"message\":\"";
    append_message(out, rng, level, path, took_us);
    out += "\"}\n";
}

std::uint64_t option(int argc, char** argv, std::string_view name, std::uint64_t otherwise) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (argv[i] == name) {
            return std::strtoull(argv[i + 1], nullptr, 10);
        }
    }
    return otherwise;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc % 2 == 0) {
        std::fputs(
            "usage: loggen [--rows N] [--seed S] [--start-us MICROSECONDS] [--step-us N] > FILE\n",
            stderr);
        return 2;
    }
    const auto rows = option(argc, argv, "--rows", 1'000'000);
    const auto start_us = option(argc, argv, "--start-us", 1'790'000'000'000'000);
    const auto step_us = option(argc, argv, "--step-us", 1000);
    Rng rng(option(argc, argv, "--seed", 1));
    std::string out;
    auto time_us = static_cast<std::int64_t>(start_us);
    for (std::uint64_t row = 0; row < rows; ++row) {
        time_us += static_cast<std::int64_t>(rng.below(2 * step_us + 1));
        append_row(out, rng, time_us);
        if (out.size() > (1U << 20U) || row + 1 == rows) {
            if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) {
                return 1;
            }
            out.clear();
        }
    }
    return 0;
}
