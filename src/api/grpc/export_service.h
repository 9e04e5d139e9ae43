#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "api/grpc/otlp_grpc_server.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/thread_pool.h"
#include "net/http_lane.h"

namespace molesignal {

/// A call that must go on by a certain time.
class ExpiringCall {
public:
    virtual ~ExpiringCall() = default;
    /// True if the call's time is over; then only the caller gives it its status.
    virtual bool claim_if_late(SteadyNanos now) = 0;
    /// Ends a call that claim_if_late claimed.
    virtual void end_late() = 0;
};

/// What all calls of a server share: threads, bounds, counts. Thread-safe.
class ExportService {
public:
    ExportService(const OtlpGrpcServer::Options& options, ApiServices& services);
    ~ExportService();
    ExportService(const ExportService&) = delete;
    ExportService& operator=(const ExportService&) = delete;

    const OtlpGrpcServer::Options& options() const { return options_; }
    ApiServices& services() { return services_; }

    /// A call lives from here to `remove`. False: there are too many (it must still be removed).
    bool add(ExpiringCall& call);
    void remove(ExpiringCall& call);
    /// Places to receive a message: what the transport buffers for all of them is bounded.
    HttpLane& receiving() { return receiving_; }
    /// Runs on the pool. kUnavailable: the server stops.
    Result<> submit(std::function<void()> task) { return pool_.submit(std::move(task)); }

    /// Counts a finished call. `code` is gRPC's.
    void count(int code, std::chrono::nanoseconds duration);
    void count_refusal(std::string_view setting);
    /// After the last call.
    void stop();

private:
    static constexpr std::size_t kCodes = 17;
    /// Ends calls whose message does not come.
    void sweep();

    const OtlpGrpcServer::Options options_;
    ApiServices& services_;
    HttpLane receiving_;
    ThreadPool pool_;
    Histogram& seconds_;
    Gauge& active_;
    std::array<std::atomic<Counter*>, kCodes> calls_by_code_{};

    Mutex mutex_;
    CondVar wake_;
    std::set<ExpiringCall*> calls_ MS_GUARDED_BY(mutex_);
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    std::thread sweeper_;
};

}  // namespace molesignal
