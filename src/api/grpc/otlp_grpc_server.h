#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/services.h"
#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/result.h"

namespace molesignal {

/// OTLP over gRPC, with the standard health service. Both addresses serve the same. Thread-safe.
///
/// A call is judged by its metadata before its message is read; messages are decoded by our own
/// decoders, so that a limit holds for what they decode to.
class OtlpGrpcServer {
public:
    struct Options {
        std::string otlp_listen;  ///< "ip:port"; port 0: any.
        std::string grpc_listen;
        std::size_t message_bytes_max = 32 << 20;   ///< http.body_bytes_max, sent and decoded.
        std::size_t metadata_bytes_max = 16 << 10;  ///< http.header_bytes_max
        std::int64_t receive_ms_max = 30'000;   ///< http.body_idle_timeout_ms, for a whole message.
        std::size_t threads_max = 32;           ///< grpc.threads_max
        std::size_t queue_requests_max = 1024;  ///< grpc.queue_requests_max
        /// Messages that are received or worked on, together with the bodies of other protocols.
        std::shared_ptr<MemoryBudget> body_memory;

        /// By the server's settings.
        static Options from(const Config& config);
    };
    virtual ~OtlpGrpcServer() = default;

    /// kUnavailable: an address cannot be bound. `services` outlives the server and is started.
    static Result<std::unique_ptr<OtlpGrpcServer>> start(const Options& options,
                                                         ApiServices& services);

    virtual const std::string& otlp_address() const = 0;
    virtual const std::string& grpc_address() const = 0;
    /// Takes no new calls, finishes running ones until `deadline`, then cuts them.
    virtual void drain(SteadyNanos deadline) = 0;
};

}  // namespace molesignal
