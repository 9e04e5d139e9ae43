#include "api/grpc/export_service.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include <fmt/format.h>
#include <pthread.h>

#include "api/http/http_metrics.h"

namespace molesignal {
namespace {

constexpr std::chrono::seconds kSweepInterval{1};

HttpLaneOptions receiving_lane(const OtlpGrpcServer::Options& options) {
    // The transport holds a message before its memory can be counted: so many at once that the
    // largest ones fit in the budget of bodies.
    const auto budget = options.body_memory == nullptr
                            ? static_cast<std::int64_t>(options.message_bytes_max)
                            : options.body_memory->limit_bytes();
    HttpLaneOptions lane;
    lane.name = "messages that are received";
    lane.running_max = std::max<std::size_t>(
        1, static_cast<std::size_t>(budget) / std::max<std::size_t>(options.message_bytes_max, 1));
    lane.waiting_max = options.queue_requests_max + options.threads_max;
    return lane;
}

/// gRPC's names of its status codes.
constexpr std::array<std::string_view, 17> kCodeNames = {"OK",
                                                         "CANCELLED",
                                                         "UNKNOWN",
                                                         "INVALID_ARGUMENT",
                                                         "DEADLINE_EXCEEDED",
                                                         "NOT_FOUND",
                                                         "ALREADY_EXISTS",
                                                         "PERMISSION_DENIED",
                                                         "RESOURCE_EXHAUSTED",
                                                         "FAILED_PRECONDITION",
                                                         "ABORTED",
                                                         "OUT_OF_RANGE",
                                                         "UNIMPLEMENTED",
                                                         "INTERNAL",
                                                         "UNAVAILABLE",
                                                         "DATA_LOSS",
                                                         "UNAUTHENTICATED"};

}  // namespace

ExportService::ExportService(const OtlpGrpcServer::Options& options, ApiServices& services)
    : options_(options),
      services_(services),
      receiving_(receiving_lane(options)),
      // A call has at most one task here, and `add` bounds the calls.
      pool_({.name = "otlp-grpc",
             .threads_max = options.threads_max,
             .queue_tasks_max = options.threads_max + options.queue_requests_max + 1,
             .setting = "grpc.queue_requests_max"}),
      seconds_(services.metrics.histogram("grpc_request_duration_seconds",
                                          "Time from a call's metadata to its status",
                                          MetricRegistry::latency_buckets(),
                                          {{"method", "logs_export"}})),
      active_(services.metrics.gauge("grpc_calls_active", "Calls without a status yet")),
      sweeper_([this] { sweep(); }) {}

ExportService::~ExportService() {
    stop();
}

bool ExportService::add(ExpiringCall& call) {
    const MutexLock lock(mutex_);
    calls_.insert(&call);
    active_.set(static_cast<double>(calls_.size()));
    return calls_.size() <= options_.threads_max + options_.queue_requests_max;
}

void ExportService::remove(ExpiringCall& call) {
    const MutexLock lock(mutex_);
    calls_.erase(&call);
    active_.set(static_cast<double>(calls_.size()));
}

void ExportService::count(int code, std::chrono::nanoseconds duration) {
    const auto index = std::min(static_cast<std::size_t>(code), kCodes - 1);
    auto* counter = calls_by_code_[index].load(std::memory_order_acquire);
    if (counter == nullptr) {
        counter = &services_.metrics.counter(
            "grpc_requests_total",
            "Answered gRPC calls, by method and status",
            {{"method", "logs_export"}, {"code", std::string(kCodeNames[index])}});
        calls_by_code_[index].store(counter, std::memory_order_release);
    }
    counter->add();
    seconds_.observe(std::chrono::duration<double>(duration).count());
}

void ExportService::count_refusal(std::string_view setting) {
    refusal_counter(services_.metrics, "grpc", setting).add();
}

void ExportService::sweep() {
    ::pthread_setname_np(::pthread_self(), "otlp-grpc-sweep");
    while (true) {
        std::vector<ExpiringCall*> late;
        {
            const MutexLock lock(mutex_);
            const auto wake_at = services_.clock.steady_now() + kSweepInterval;
            while (!stopping_ && services_.clock.steady_now() < wake_at) {
                services_.clock.wait_until(mutex_, wake_, wake_at);
            }
            if (stopping_) {
                return;
            }
            const auto now = services_.clock.steady_now();
            for (auto* call : calls_) {
                if (call->claim_if_late(now)) {
                    late.push_back(call);
                }
            }
        }
        // Not under the lock: what follows may end the call on this thread. It cannot end before,
        // because only who has claimed it gives it its status.
        for (auto* call : late) {
            call->end_late();
        }
    }
}

void ExportService::stop() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (sweeper_.joinable()) {
        sweeper_.join();
    }
    pool_.stop();
}

}  // namespace molesignal
