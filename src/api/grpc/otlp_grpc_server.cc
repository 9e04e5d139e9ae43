#include "api/grpc/otlp_grpc_server.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include "api/grpc/export_call.h"
#include "api/grpc/export_service.h"

namespace molesignal {
namespace {

constexpr int kStreamsPerConnectionMax = 100;
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kIdleMs = 300'000;
constexpr int kHandshakeMs = 10'000;
constexpr int kPingIntervalMinMs = 10'000;
/// Windows of waiting calls and the connections themselves.
constexpr std::int64_t kTransportBytes = 64 << 20;

std::string host_of(const std::string& listen) {
    return listen.substr(0, listen.rfind(':'));
}

/// What the transport may hold. Messages are received a few at a time, so that it is not reached;
/// beyond it gRPC cuts calls and connections.
std::int64_t transport_bytes(const OtlpGrpcServer::Options& options) {
    const auto bodies = options.body_memory == nullptr
                            ? static_cast<std::int64_t>(options.message_bytes_max)
                            : std::min<std::int64_t>(options.body_memory->limit_bytes(), 1LL << 40);
    return 2 * bodies + kTransportBytes;
}

void set_limits(grpc::ServerBuilder& builder, const OtlpGrpcServer::Options& options) {
    const auto number = [](auto value) {
        return static_cast<int>(
            std::min<std::int64_t>(static_cast<std::int64_t>(value), INT32_MAX));
    };
    builder.SetMaxReceiveMessageSize(number(options.message_bytes_max));
    // We decompress: gRPC would do so without a bound.
    builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, number(options.metadata_bytes_max));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
    // Without probes the window of a message that nobody reads stays at 64 KiB.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               kPingIntervalMinMs);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
    // One more process on the same port would take half of the calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    grpc::ResourceQuota quota("otlp");
    quota.Resize(static_cast<std::size_t>(transport_bytes(options)));
    builder.SetResourceQuota(quota);
}

class Server final : public OtlpGrpcServer {
public:
    Server(const Options& options, ApiServices& services)
        : clock_(services.clock), service_(options, services), calls_(make_export_calls(service_)) {
        grpc::EnableDefaultHealthCheckService(true);
        grpc::ServerBuilder builder;
        builder.AddListeningPort(
            options.otlp_listen, grpc::InsecureServerCredentials(), &otlp_port_);
        builder.AddListeningPort(
            options.grpc_listen, grpc::InsecureServerCredentials(), &grpc_port_);
        set_limits(builder, options);
        builder.RegisterCallbackGenericService(calls_.get());
        server_ = builder.BuildAndStart();
        otlp_address_ = fmt::format("{}:{}", host_of(options.otlp_listen), otlp_port_);
        grpc_address_ = fmt::format("{}:{}", host_of(options.grpc_listen), grpc_port_);
    }
    ~Server() override { drain(clock_.steady_now()); }

    bool listening() const { return server_ != nullptr && otlp_port_ != 0 && grpc_port_ != 0; }
    const std::string& otlp_address() const override { return otlp_address_; }
    const std::string& grpc_address() const override { return grpc_address_; }

    void drain(SteadyNanos deadline) override {
        if (server_ == nullptr) {
            return;
        }
        const auto left = std::max<std::int64_t>(0, deadline.value - clock_.steady_now().value);
        const std::chrono::nanoseconds until(clock_.now().value + left);
        server_->Shutdown(std::chrono::system_clock::time_point(
            std::chrono::duration_cast<std::chrono::system_clock::duration>(until)));
        service_.stop();
        server_.reset();
    }

private:
    Clock& clock_;
    ExportService service_;
    std::unique_ptr<grpc::CallbackGenericService> calls_;
    int otlp_port_ = 0;
    int grpc_port_ = 0;
    std::string otlp_address_;
    std::string grpc_address_;
    std::unique_ptr<grpc::Server> server_;
};

}  // namespace

OtlpGrpcServer::Options OtlpGrpcServer::Options::from(const Config& config) {
    Options options;
    options.otlp_listen = config.otlp.grpc_listen;
    options.grpc_listen = config.grpc.listen;
    options.message_bytes_max = static_cast<std::size_t>(config.http.body_bytes_max);
    options.metadata_bytes_max = static_cast<std::size_t>(config.http.header_bytes_max);
    options.receive_ms_max = config.http.body_idle_timeout_ms;
    options.threads_max = static_cast<std::size_t>(config.grpc.threads_max);
    options.queue_requests_max = static_cast<std::size_t>(config.grpc.queue_requests_max);
    return options;
}

Result<std::unique_ptr<OtlpGrpcServer>> OtlpGrpcServer::start(const Options& options,
                                                              ApiServices& services) {
    auto server = std::make_unique<Server>(options, services);
    if (!server->listening()) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("cannot listen on {} (otlp.grpc_listen) and {} (grpc.listen); is "
                                 "another server running?",
                                 options.otlp_listen,
                                 options.grpc_listen));
    }
    return std::unique_ptr<OtlpGrpcServer>(std::move(server));
}

}  // namespace molesignal
