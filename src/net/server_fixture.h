#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/random.h"
#include "net/http_server.h"
#include "net/raw_socket.h"

namespace molesignal {

/// A one-shot event between the test and a handler.
class Event {
public:
    void set() {
        const MutexLock lock(mutex_);
        set_ = true;
        changed_.notify_all();
    }
    /// False after 10 s.
    bool wait() {
        const auto deadline = clock_.steady_now() + std::chrono::seconds(10);
        const MutexLock lock(mutex_);
        while (!set_ && clock_.steady_now() < deadline) {
            clock_.wait_until(mutex_, changed_, deadline);
        }
        return set_;
    }

private:
    SystemClock clock_;
    Mutex mutex_;
    CondVar changed_;
    bool set_ MS_GUARDED_BY(mutex_) = false;
};

/// Starts servers on loopback and keeps their access records.
class ServerFixture : public testing::Test {
protected:
    /// Answers with method, path, body size and body, unless told otherwise.
    void start(HttpServerOptions options = {}, HttpHandler handler = nullptr) {
        if (!handler) {
            handler = [](const RequestContext&, HttpRequest&& request) {
                return HttpResponse::text(200,
                                          request.method + " " + request.path + " " +
                                              std::to_string(request.body.size()) + " " +
                                              request.body);
            };
        }
        body_memory_ = MemoryBudget::make_root(
            "request bodies", "http.inflight_body_bytes_max", options.inflight_body_bytes_max);
        options.body_memory = body_memory_;
        HttpHooks hooks;
        hooks.admit = admit_;
        hooks.on_answer = [this](const HttpAccessRecord& record) {
            const MutexLock lock(mutex_);
            statuses_.push_back(record.status);
            complete_.push_back(record.complete);
            if (!record.limit.empty()) {
                limits_.emplace_back(record.limit);
            }
        };
        auto started = HttpServer::start(
            std::move(options), std::move(handler), std::move(hooks), clock_, random_);
        ASSERT_TRUE(started) << started.error().message();
        server_ = *std::move(started);
    }

    void TearDown() override { server_.reset(); }

    const std::string& address() const { return server_->addresses().front(); }

    /// Sends on a new connection and returns everything until the server closes.
    std::string exchange(std::string_view wire) {
        RawSocket socket(address());
        socket.send(wire);
        return socket.read_to_end();
    }

    bool eventually(const std::function<bool()>& condition) {
        Mutex mutex;
        CondVar never;
        const auto deadline = clock_.steady_now() + std::chrono::seconds(10);
        const MutexLock lock(mutex);
        while (!condition()) {
            if (clock_.steady_now() >= deadline) {
                return false;
            }
            clock_.wait_until(mutex, never, clock_.steady_now() + std::chrono::milliseconds(2));
        }
        return true;
    }

    std::vector<int> statuses() {
        const MutexLock lock(mutex_);
        return statuses_;
    }
    std::vector<bool> complete() {
        const MutexLock lock(mutex_);
        return complete_;
    }

    /// The settings that refused requests.
    std::vector<std::string> limits() {
        const MutexLock lock(mutex_);
        return limits_;
    }

    SystemClock clock_;
    SeededRandom random_{42};
    std::function<HttpAdmission(const RequestContext&, const HttpRequest&, HttpMayBlock)> admit_;
    std::shared_ptr<MemoryBudget> body_memory_;
    Mutex mutex_;
    std::vector<std::string> limits_ MS_GUARDED_BY(mutex_);
    std::vector<int> statuses_ MS_GUARDED_BY(mutex_);
    std::vector<bool> complete_ MS_GUARDED_BY(mutex_);
    std::unique_ptr<HttpServer> server_;
};

inline std::string post(std::string_view path,
                        std::string_view body,
                        std::string_view headers = "") {
    return "POST " + std::string(path) +
           " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
           std::string(headers) + "\r\n" + std::string(body);
}

inline std::string get(std::string_view target, std::string_view headers = "") {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n" + std::string(headers) +
           "\r\n";
}

inline constexpr std::string_view kClose = "Connection: close\r\n";

}  // namespace molesignal
