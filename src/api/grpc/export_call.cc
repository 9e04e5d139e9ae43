#include "api/grpc/export_call.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <grpc/compression.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include "api/error_form.h"
#include "api/otlp_ingest.h"
#include "auth/authenticator.h"
#include "common/log.h"
#include "common/memory_budget.h"
#include "common/request_context.h"
#include "net/body_decoding.h"
#include "net/compression.h"
#include "net/http_lane.h"

namespace grpc::internal {

/// gRPC's own way to what is inside a ByteBuffer, which alone knows whether it is compressed.
class GrpcByteBufferPeer {
public:
    static const grpc_byte_buffer* get(ByteBuffer& buffer) { return buffer.c_buffer(); }
};

}  // namespace grpc::internal

namespace molesignal {
namespace {

constexpr std::string_view kMethod = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
constexpr std::string_view kRoute = "grpc logs_export";
constexpr std::chrono::seconds kCallDeadline{120};
constexpr std::size_t kRequestIdBytesMax = 128;

Result<ContentCoding> coding_of(grpc::ByteBuffer& message) {
    const auto* raw = grpc::internal::GrpcByteBufferPeer::get(message);
    switch (raw->data.raw.compression) {
        case GRPC_COMPRESS_NONE:
            return ContentCoding::kIdentity;
        case GRPC_COMPRESS_DEFLATE:
            return ContentCoding::kDeflate;
        case GRPC_COMPRESS_GZIP:
            return ContentCoding::kGzip;
        default:
            return Error(ErrorCode::kInvalidArgument,
                         "the message's compression is not supported; accepted: gzip, deflate");
    }
}

grpc::Status status_of(const Error& error) {
    return {static_cast<grpc::StatusCode>(error_form(error.code()).grpc_code),
            error.message(),
            encode_rpc_status(error, OtlpEncoding::kProtobuf)};
}

/// One call of the gRPC server, from its metadata to its status. Deletes itself when gRPC is done
/// with it.
///
/// Metadata → credential (on the pool if the catalogue must be asked) → a place to receive →
/// message → on the pool: decode, store → status. One step at a time, except that the sweeper may
/// end a call whose message does not come: whoever claims the call gives it its status.
class ExportCall final : public grpc::ServerGenericBidiReactor, public ExpiringCall {
public:
    ExportCall(ExportService& service, grpc::GenericCallbackServerContext& context);
    ~ExportCall() override;
    ExportCall(const ExportCall&) = delete;
    ExportCall& operator=(const ExportCall&) = delete;

    void start();

    bool claim_if_late(SteadyNanos now) override;
    void end_late() override;

    void OnReadDone(bool ok) override;
    void OnCancel() override { cancel_.cancel(); }
    void OnDone() override;

private:
    void sign_in();
    void receive(const Principal& principal);
    void start_reading();
    Result<> take_message();
    void work();
    Result<std::string> store();
    Result<> check_client() const;
    RequestContext request_context() const;
    std::optional<std::string> metadata(const char* key) const;
    std::vector<std::string> organizations() const;

    bool claim() { return !claimed_.exchange(true); }
    void fail(const Error& error);
    void finish(grpc::Status status);

    ExportService& service_;
    grpc::GenericCallbackServerContext& context_;
    const SteadyNanos began_;
    std::string request_id_;
    CancelToken cancel_;
    std::atomic<bool> claimed_{false};
    /// Until when the message must come: never, a time, or over already.
    static constexpr std::int64_t kNever = INT64_MAX;
    static constexpr std::int64_t kOver = INT64_MIN;
    std::atomic<std::int64_t> receive_by_{kNever};
    HttpLane::Pass place_;
    Principal principal_;
    grpc::ByteBuffer incoming_;
    grpc::ByteBuffer outgoing_;
    std::string message_;  ///< As it was sent.
    ContentCoding coding_ = ContentCoding::kIdentity;
    MemoryReservation memory_;
};

class ExportCalls final : public grpc::CallbackGenericService {
public:
    explicit ExportCalls(ExportService& service) : service_(service) {}
    grpc::ServerGenericBidiReactor* CreateReactor(
        grpc::GenericCallbackServerContext* context) override {
        // Deletes itself in OnDone.
        auto* call = new ExportCall(service_, *context);
        call->start();
        return call;
    }

private:
    ExportService& service_;
};

ExportCall::ExportCall(ExportService& service, grpc::GenericCallbackServerContext& context)
    : service_(service),
      context_(context),
      began_(service.services().clock.steady_now()),
      memory_(service.options().body_memory) {}

ExportCall::~ExportCall() = default;

std::optional<std::string> ExportCall::metadata(const char* key) const {
    const auto found = context_.client_metadata().find(key);
    if (found == context_.client_metadata().end()) {
        return std::nullopt;
    }
    return std::string(found->second.data(), found->second.size());
}

std::vector<std::string> ExportCall::organizations() const {
    std::vector<std::string> values;
    for (const auto* key : {"x-org-id", "x-scope-orgid"}) {
        const auto range = context_.client_metadata().equal_range(key);
        for (auto entry = range.first; entry != range.second; ++entry) {
            values.emplace_back(entry->second.data(), entry->second.size());
        }
    }
    return values;
}

RequestContext ExportCall::request_context() const {
    auto& clock = service_.services().clock;
    auto context = RequestContext::background(clock, request_id_);
    context.cancel = cancel_;
    context.org_id = principal_.org.value;
    context.deadline = clock.steady_now() + kCallDeadline;
    // The client's deadline is a time of day; without one it is the end of time.
    const auto until =
        std::chrono::duration_cast<std::chrono::seconds>(context_.deadline().time_since_epoch());
    const auto left = until.count() - clock.now().value / 1'000'000'000;
    if (left < kCallDeadline.count()) {
        context.deadline =
            clock.steady_now() + std::chrono::seconds(std::max<std::int64_t>(left, 0));
    }
    return context;
}

void ExportCall::start() {
    auto& services = service_.services();
    const auto sent_id = metadata("x-request-id").value_or("");
    const bool acceptable =
        !sent_id.empty() && sent_id.size() <= kRequestIdBytesMax &&
        std::ranges::all_of(sent_id, [](char c) { return c > 0x20 && c < 0x7f; });
    request_id_ = acceptable ? sent_id : make_ulid(services.clock.now(), services.random);
    const auto& options = service_.options();
    if (!service_.add(*this)) {
        fail(Error(ErrorCode::kResourceExhausted,
                   fmt::format("{} calls are worked on (grpc.threads_max) and {} wait "
                               "(grpc.queue_requests_max)",
                               options.threads_max,
                               options.queue_requests_max)));
        return;
    }
    if (context_.method() != kMethod) {
        finish({grpc::StatusCode::UNIMPLEMENTED,
                fmt::format("this server has no method '{}'", context_.method())});
        return;
    }
    const auto known = services.authenticator->recall(metadata("authorization"), organizations());
    if (known.has_value()) {
        if (!*known) {
            fail(known->error());
        } else {
            receive(**known);
        }
        return;
    }
    if (const auto queued = service_.submit([this] { sign_in(); }); !queued) {
        fail(queued.error());
    }
}

void ExportCall::sign_in() {
    auto verified = service_.services().authenticator->authenticate(
        request_context(), metadata("authorization"), organizations());
    if (!verified) {
        fail(verified.error());
    } else {
        receive(*verified);
    }
}

void ExportCall::receive(const Principal& principal) {
    if (!principal.may(Permission::kIngest)) {
        fail(Error(ErrorCode::kForbidden, "this credential lacks the permission 'ingest'"));
        return;
    }
    principal_ = principal;
    // Whoever frees a place has something else to do: the next read begins on the pool.
    const auto granted = [this] {
        if (const auto queued = service_.submit([this] { start_reading(); }); !queued) {
            fail(queued.error());
        }
    };
    switch (service_.receiving().enter(place_, granted)) {
        case HttpLane::Entry::kEntered:
            start_reading();
            return;
        case HttpLane::Entry::kWaits:
            return;
        case HttpLane::Entry::kFull:
            fail(Error(ErrorCode::kResourceExhausted,
                       fmt::format("{} messages wait to be received (grpc.queue_requests_max)",
                                   service_.receiving().options().waiting_max)));
            return;
    }
}

void ExportCall::start_reading() {
    if (cancel_.cancelled()) {
        place_.leave();
        fail(Error(ErrorCode::kCancelled, "the client has gone"));
        return;
    }
    const std::chrono::milliseconds time(service_.options().receive_ms_max);
    receive_by_ = (service_.services().clock.steady_now() + time).value;
    StartRead(&incoming_);
}

bool ExportCall::claim_if_late(SteadyNanos now) {
    auto by = receive_by_.load();
    // One of the two goes on with the call: who is late, or who has the message.
    return by != kOver && now.value >= by && receive_by_.compare_exchange_strong(by, kOver) &&
           claim();
}

void ExportCall::end_late() {
    const Error error(
        ErrorCode::kTimeout,
        fmt::format("the message did not come within {} ms (http.body_idle_timeout_ms)",
                    service_.options().receive_ms_max));
    service_.count_refusal("http.body_idle_timeout_ms");
    finish(status_of(error));
}

Result<> ExportCall::take_message() {
    std::vector<grpc::Slice> slices;
    if (!incoming_.Valid() || !incoming_.Dump(&slices).ok()) {
        return Error(ErrorCode::kInvalidArgument, "the call has no message");
    }
    MS_TRY(coding_, coding_of(incoming_));
    const auto size = incoming_.Length();
    MS_TRY_VOID(reserve_body(message_, size, size, memory_));
    for (const auto& slice : slices) {
        message_.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    return {};
}

void ExportCall::OnReadDone(bool ok) {
    if (receive_by_.exchange(kNever) == kOver) {
        incoming_.Clear();
        place_.leave();
        return;
    }
    // From here on our budget counts the message, not the transport's.
    auto taken = ok ? take_message()
                    : Result<>(Error(ErrorCode::kInvalidArgument, "the call has no message"));
    incoming_.Clear();
    place_.leave();
    if (taken) {
        taken = service_.submit([this] { work(); });
    }
    if (!taken) {
        fail(taken.error());
    }
}

Result<> ExportCall::check_client() const {
    const auto context = request_context();
    if (context.cancel.cancelled()) {
        return Error(ErrorCode::kCancelled, "the client has gone");
    }
    return context.check();
}

Result<std::string> ExportCall::store() {
    // It may have waited: nobody may be there any more for the answer.
    MS_TRY_VOID(check_client());
    std::string decoded;
    MemoryReservation decoded_memory(memory_.budget());
    if (coding_ != ContentCoding::kIdentity) {
        MS_TRY(decoded,
               decode_body(coding_,
                           as_bytes(message_),
                           {.bytes_max = service_.options().message_bytes_max},
                           decoded_memory));
        std::string().swap(message_);
        memory_.reset();
    }
    const auto& body = coding_ == ContentCoding::kIdentity ? message_ : decoded;
    const auto stream = metadata("stream-name").value_or(std::string(kOtlpDefaultStream));
    MS_TRY(const auto answer,
           ingest_otlp_logs(request_context(),
                            service_.services(),
                            principal_,
                            stream,
                            as_bytes(body),
                            OtlpEncoding::kProtobuf,
                            "otlp_grpc"));
    return encode_export_response(answer, OtlpEncoding::kProtobuf);
}

void ExportCall::work() {
    const auto answer = store();
    std::string().swap(message_);
    memory_.reset();
    if (!answer) {
        fail(answer.error());
        return;
    }
    if (!claim()) {
        return;
    }
    const grpc::Slice slice(*answer);
    outgoing_ = grpc::ByteBuffer(&slice, 1);
    finish(grpc::Status::OK);
}

void ExportCall::fail(const Error& error) {
    if (!claim()) {
        return;
    }
    const auto shown = error_for_client(error, kRoute, request_id_);
    const auto code = error.code();
    if (code == ErrorCode::kResourceExhausted || code == ErrorCode::kTooLarge ||
        code == ErrorCode::kLimitReached) {
        if (const auto setting = setting_named_in(error.message()); !setting.empty()) {
            service_.count_refusal(setting);
        }
    }
    finish(status_of(shown));
}

void ExportCall::finish(grpc::Status status) {
    claimed_ = true;
    service_.count(status.error_code(), service_.services().clock.steady_now() - began_);
    context_.AddTrailingMetadata("x-request-id", request_id_);
    const auto level =
        service_.services().config().telemetry.access_log ? LogLevel::kInfo : LogLevel::kDebug;
    if (log_enabled(level)) {
        log(level,
            "grpc",
            {{"method", context_.method()},
             {"code", static_cast<int>(status.error_code())},
             {"request_id", request_id_},
             {"remote", context_.peer()},
             {"duration_us", (service_.services().clock.steady_now() - began_).count() / 1000}});
    }
    // The call may be gone after this.
    if (status.ok()) {
        StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), std::move(status));
    } else {
        Finish(std::move(status));
    }
}

void ExportCall::OnDone() {
    service_.remove(*this);
    delete this;
}

}  // namespace

std::unique_ptr<grpc::CallbackGenericService> make_export_calls(ExportService& service) {
    return std::make_unique<ExportCalls>(service);
}

}  // namespace molesignal
