#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/services.h"
#include "common/clock.h"
#include "common/result.h"

namespace molesignal {

/// OTLP over gRPC, with the standard health service. Both addresses serve the same.
///
/// Calls are decoded and stored on a thread pool; gzip is handled by gRPC. Thread-safe.
class OtlpGrpcServer {
public:
    struct Options {
        std::string otlp_listen;  ///< "ip:port"; port 0: any.
        std::string grpc_listen;
        std::int64_t message_bytes_max = 32 << 20;  ///< http.body_bytes_max, after decompression.
        std::size_t threads_max = 32;
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
