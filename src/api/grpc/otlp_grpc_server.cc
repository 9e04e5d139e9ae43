#include "api/grpc/otlp_grpc_server.h"

#include <chrono>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "api/error_form.h"
#include "api/otlp_ingest.h"
#include "common/log.h"
#include "common/thread_pool.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.grpc.pb.h"

namespace molesignal {
namespace {

using LogsService = opentelemetry::proto::collector::logs::v1::LogsService;
constexpr std::chrono::seconds kCallDeadline{120};

std::optional<std::string> metadata_of(const grpc::CallbackServerContext& context,
                                       const char* key) {
    const auto found = context.client_metadata().find(key);
    if (found == context.client_metadata().end()) {
        return std::nullopt;
    }
    return std::string(found->second.data(), found->second.size());
}

grpc::Status status_of(const Error& error) {
    return {static_cast<grpc::StatusCode>(error_form(error.code()).grpc_code),
            error.message(),
            encode_rpc_status(error, OtlpEncoding::kProtobuf)};
}

class LogsHandler final : public LogsService::WithRawCallbackMethod_Export<LogsService::Service> {
public:
    LogsHandler(ApiServices& services, std::size_t threads)
        : services_(services),
          pool_({.name = "otlp-grpc",
                 .threads_max = threads,
                 .queue_tasks_max = 1024,
                 .setting = "otlp.grpc_listen"}) {}

    grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
        auto* reactor = context->DefaultReactor();
        const auto queued = pool_.submit([this, context, request, response, reactor] {
            reactor->Finish(handle(*context, *request, *response));
        });
        if (!queued) {
            reactor->Finish(status_of(Error(ErrorCode::kUnavailable, queued.error().message())));
        }
        return reactor;
    }

    void stop() { pool_.stop(); }

private:
    grpc::Status handle(const grpc::CallbackServerContext& call,
                        const grpc::ByteBuffer& request,
                        grpc::ByteBuffer& response) {
        auto context = RequestContext::background(
            services_.clock, metadata_of(call, "x-request-id").value_or("otlp-grpc"));
        context.deadline = services_.clock.steady_now() + kCallDeadline;
        auto answer = store(context, call, request);
        services_.metrics
            .counter("grpc_requests_total",
                     "Answered gRPC calls, by method and outcome",
                     {{"method", "logs_export"}, {"outcome", answer ? "ok" : "error"}})
            .add();
        if (!answer) {
            if (answer.error().code() == ErrorCode::kInternal) {
                log_error("an OTLP export failed", {{"error", answer.error().message()}});
            }
            return status_of(answer.error());
        }
        const grpc::Slice slice(encode_export_response(*answer, OtlpEncoding::kProtobuf));
        response = grpc::ByteBuffer(&slice, 1);
        return grpc::Status::OK;
    }

    Result<OtlpAnswer> store(RequestContext& context,
                             const grpc::CallbackServerContext& call,
                             const grpc::ByteBuffer& request) {
        std::vector<std::string> organizations;
        for (const auto* key : {"x-org-id", "x-scope-orgid"}) {
            const auto range = call.client_metadata().equal_range(key);
            for (auto entry = range.first; entry != range.second; ++entry) {
                organizations.emplace_back(entry->second.data(), entry->second.size());
            }
        }
        const auto authorization = metadata_of(call, "authorization");
        MS_TRY(const auto principal,
               services_.authenticator->authenticate(context, authorization, organizations));
        if (!principal.may(Permission::kIngest)) {
            return Error(ErrorCode::kForbidden, "this credential lacks the permission 'ingest'");
        }
        context.org_id = principal.org.value;
        std::vector<grpc::Slice> slices;
        if (!request.Dump(&slices).ok()) {
            return Error(ErrorCode::kInvalidArgument, "the call has no message");
        }
        const auto stream =
            metadata_of(call, "stream-name").value_or(std::string(kOtlpDefaultStream));
        const auto ingest = [&](Bytes body) {
            return ingest_otlp_logs(
                context, services_, principal, stream, body, OtlpEncoding::kProtobuf, "otlp_grpc");
        };
        if (slices.size() == 1) {
            return ingest(
                Bytes(reinterpret_cast<const std::byte*>(slices[0].begin()), slices[0].size()));
        }
        ByteBuffer body;
        body.reserve(request.Length());
        for (const auto& slice : slices) {
            append_bytes(body,
                         Bytes(reinterpret_cast<const std::byte*>(slice.begin()), slice.size()));
        }
        return ingest(body);
    }

    ApiServices& services_;
    ThreadPool pool_;
};

std::string host_of(const std::string& listen) {
    return listen.substr(0, listen.rfind(':'));
}

class Server final : public OtlpGrpcServer {
public:
    Server(const Options& options, ApiServices& services)
        : services_(services), logs_(services, options.threads_max) {
        grpc::EnableDefaultHealthCheckService(true);
        grpc::ServerBuilder builder;
        builder.AddListeningPort(
            options.otlp_listen, grpc::InsecureServerCredentials(), &otlp_port_);
        builder.AddListeningPort(
            options.grpc_listen, grpc::InsecureServerCredentials(), &grpc_port_);
        // One more process on the same port would take half of the calls.
        builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
        builder.SetMaxReceiveMessageSize(
            static_cast<int>(std::min<std::int64_t>(options.message_bytes_max, INT32_MAX)));
        builder.RegisterService(&logs_);
        server_ = builder.BuildAndStart();
        otlp_address_ = fmt::format("{}:{}", host_of(options.otlp_listen), otlp_port_);
        grpc_address_ = fmt::format("{}:{}", host_of(options.grpc_listen), grpc_port_);
    }
    ~Server() override { drain(services_.clock.steady_now()); }

    bool listening() const { return server_ != nullptr && otlp_port_ != 0 && grpc_port_ != 0; }
    const std::string& otlp_address() const override { return otlp_address_; }
    const std::string& grpc_address() const override { return grpc_address_; }

    void drain(SteadyNanos deadline) override {
        if (server_ == nullptr) {
            return;
        }
        const auto left =
            std::max<std::int64_t>(0, deadline.value - services_.clock.steady_now().value);
        const std::chrono::nanoseconds until(services_.clock.now().value + left);
        server_->Shutdown(std::chrono::system_clock::time_point(
            std::chrono::duration_cast<std::chrono::system_clock::duration>(until)));
        logs_.stop();
        server_.reset();
    }

private:
    ApiServices& services_;
    LogsHandler logs_;
    int otlp_port_ = 0;
    int grpc_port_ = 0;
    std::string otlp_address_;
    std::string grpc_address_;
    std::unique_ptr<grpc::Server> server_;
};

}  // namespace

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
