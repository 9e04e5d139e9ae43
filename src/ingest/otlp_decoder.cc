#include "ingest/otlp_decoder.h"

#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>
#include <simdjson.h>

#include "common/utf8.h"
#include "ingest/batch_builder.h"
#include "ingest/otlp_json.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb.h"

namespace molesignal {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace logs = opentelemetry::proto::logs::v1;
using Request = opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;

constexpr int kRecursionMax = 100;

void append_hex(std::string_view bytes, std::string& out) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    for (const char byte : bytes) {
        out.push_back(kDigits[static_cast<unsigned char>(byte) >> 4U]);
        out.push_back(kDigits[static_cast<unsigned char>(byte) & 15U]);
    }
}

/// A value as JSON text. Recursion is bounded by the parser's.
void append_json(const common::AnyValue& value, std::string& out) {
    switch (value.value_case()) {
        case common::AnyValue::kStringValue:
            append_json_text(out, value.string_value());
            break;
        case common::AnyValue::kBoolValue:
            out += value.bool_value() ? "true" : "false";
            break;
        case common::AnyValue::kIntValue:
            out += std::to_string(value.int_value());
            break;
        case common::AnyValue::kDoubleValue:
            if (std::isfinite(value.double_value())) {
                out += fmt::format("{}", value.double_value());
            } else {
                append_json_text(out, fmt::format("{}", value.double_value()));
            }
            break;
        case common::AnyValue::kArrayValue:
            out.push_back('[');
            for (int i = 0; i < value.array_value().values_size(); ++i) {
                out += i == 0 ? "" : ",";
                append_json(value.array_value().values(i), out);
            }
            out.push_back(']');
            break;
        case common::AnyValue::kKvlistValue:
            out.push_back('{');
            for (int i = 0; i < value.kvlist_value().values_size(); ++i) {
                out += i == 0 ? "" : ",";
                append_json_text(out, value.kvlist_value().values(i).key());
                out.push_back(':');
                append_json(value.kvlist_value().values(i).value(), out);
            }
            out.push_back('}');
            break;
        case common::AnyValue::kBytesValue: {
            out.push_back('"');
            append_base64(out, value.bytes_value());
            out.push_back('"');
            break;
        }
        case common::AnyValue::VALUE_NOT_SET:
            out += "null";
            break;
    }
}

class OtlpRows {
public:
    OtlpRows(const DecodeLimits& limits, const DecodeSettings& settings)
        : limits_(limits), settings_(settings), builder_(limits, settings) {}

    Result<DecodedRows> run(const Request& request, const OtlpJsonFindings& findings = {}) {
        out_.repaired_texts += findings.repaired ? 1 : 0;
        refused_ = findings.refused;
        for (const auto& resource : request.resource_logs()) {
            const auto resource_bytes = resource.resource().ByteSizeLong();
            for (const auto& scope : resource.scope_logs()) {
                const auto shared_bytes = resource_bytes + scope.scope().ByteSizeLong();
                for (const auto& record : scope.log_records()) {
                    if (index_ == limits_.rows_max) {
                        return Error(
                            ErrorCode::kTooLarge,
                            fmt::format("the request has more than {} log records "
                                        "(ingester.rows_per_request_max); send fewer at once",
                                        limits_.rows_max));
                    }
                    if (builder_.failed()) {
                        break;
                    }
                    count_refused();
                    add(resource, scope, record, shared_bytes);
                }
            }
        }
        count_refused();
        MS_TRY_VOID(builder_.finish(out_));
        return std::move(out_);
    }

private:
    /// Rejects the records that were refused before they came here, in their place.
    void count_refused() {
        while (!refused_.empty() && refused_.front().first == index_) {
            out_.reject(
                index_++, RejectReason::kMalformed, refused_.front().second, limits_.errors_max);
            refused_ = refused_.subspan(1);
        }
    }

    void add(const logs::ResourceLogs& resource,
             const logs::ScopeLogs& scope,
             const logs::LogRecord& record,
             std::size_t shared_bytes) {
        // A row holds its resource's and its scope's values too.
        const auto bytes = record.ByteSizeLong() + shared_bytes;
        if (bytes > limits_.row_bytes_max) {
            out_.reject(index_++,
                        RejectReason::kTooLarge,
                        fmt::format("has {} bytes with its resource and scope, the limit is {} "
                                    "(ingester.row_bytes_max)",
                                    bytes,
                                    limits_.row_bytes_max),
                        limits_.errors_max);
            return;
        }
        // Resource first: of equal names the record's own value, added last, wins.
        add_attributes(resource.resource().attributes());
        add_text("scope_name", scope.scope().name());
        add_text("scope_version", scope.scope().version());
        if (record.severity_number() != 0) {
            builder_.add_fixed(
                "severity_number",
                FieldType::kInt64,
                static_cast<std::uint64_t>(static_cast<std::int64_t>(record.severity_number())));
        }
        add_text("severity_text", record.severity_text());
        add_text("event_name", record.event_name());
        add_id("trace_id", record.trace_id(), 16);
        add_id("span_id", record.span_id(), 8);
        if (record.flags() != 0) {
            builder_.add_fixed("flags", FieldType::kInt64, record.flags());
        }
        if (record.body().value_case() == common::AnyValue::kKvlistValue) {
            add_json("body", record.body());
        } else {
            add_value("body", record.body(), 0);
        }
        add_attributes(record.attributes());
        const auto time = record.time_unix_nano() != 0 ? record.time_unix_nano()
                                                       : record.observed_time_unix_nano();
        constexpr auto kLatest = static_cast<std::uint64_t>(INT64_MAX);
        builder_.end_row(
            index_++,
            time == 0 ? settings_.now_ns : static_cast<std::int64_t>(std::min(time, kLatest)),
            out_);
    }

    /// Text of the protocol, which promises UTF-8 and does not always keep it.
    std::string_view checked(const std::string& text, std::string& repaired) {
        if (simdjson::validate_utf8(text.data(), text.size())) {
            return text;
        }
        ++out_.repaired_texts;
        repaired = repair_utf8(text);
        return repaired;
    }

    void add_text(std::string_view name, const std::string& value) {
        if (!value.empty()) {
            builder_.add_text(name, FieldType::kString, checked(value, repaired_value_));
        }
    }

    void add_json(std::string_view name, const common::AnyValue& value) {
        scratch_.clear();
        append_json(value, scratch_);
        builder_.add_text(name, FieldType::kJson, checked(scratch_, repaired_value_));
    }

    void add_id(std::string_view name, const std::string& value, std::size_t bytes) {
        // An id of another length, or all zero, is no id by the protocol.
        if (value.size() == bytes && value.find_first_not_of('\0') != std::string::npos) {
            scratch_.clear();
            append_hex(value, scratch_);
            builder_.add_text(name, FieldType::kString, scratch_);
        }
    }

    template <class Attributes>
    void add_attributes(const Attributes& attributes) {
        for (const auto& attribute : attributes) {
            std::string repaired;
            add_value(checked(attribute.key(), repaired), attribute.value(), 0);
        }
    }

    void add_value(std::string_view name, const common::AnyValue& value, std::size_t depth) {
        switch (value.value_case()) {
            case common::AnyValue::kStringValue:
                builder_.add_text(
                    name, FieldType::kString, checked(value.string_value(), repaired_value_));
                break;
            case common::AnyValue::kBoolValue:
                builder_.add_fixed(name, FieldType::kBool, value.bool_value() ? 1 : 0);
                break;
            case common::AnyValue::kIntValue:
                builder_.add_fixed(
                    name, FieldType::kInt64, static_cast<std::uint64_t>(value.int_value()));
                break;
            case common::AnyValue::kDoubleValue:
                builder_.add_fixed(
                    name, FieldType::kFloat64, std::bit_cast<std::uint64_t>(value.double_value()));
                break;
            case common::AnyValue::kBytesValue:
                builder_.add_text(name, FieldType::kBytes, value.bytes_value());
                break;
            case common::AnyValue::kKvlistValue:
                if (depth + 1 < limits_.depth_max && name.size() < limits_.name_bytes_max) {
                    for (const auto& inner : value.kvlist_value().values()) {
                        std::string repaired;
                        add_value(fmt::format("{}.{}", name, checked(inner.key(), repaired)),
                                  inner.value(),
                                  depth + 1);
                    }
                    break;
                }
                [[fallthrough]];
            case common::AnyValue::kArrayValue:
                add_json(name, value);
                break;
            case common::AnyValue::VALUE_NOT_SET:
                break;
        }
    }

    const DecodeLimits& limits_;
    const DecodeSettings& settings_;
    BatchBuilder builder_;
    DecodedRows out_;
    std::span<const std::pair<std::uint64_t, std::string>> refused_;
    std::string scratch_;
    std::string repaired_value_;
    std::uint64_t index_ = 0;
};

}  // namespace

Result<DecodedRows> decode_otlp_logs(Bytes protobuf,
                                     const DecodeLimits& limits,
                                     const DecodeSettings& settings) {
    // The library would write a line to stderr for each bad message that somebody sends.
    static auto* const silenced = google::protobuf::SetLogHandler(nullptr);
    (void)silenced;
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    if (protobuf.size() > INT32_MAX) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("an OTLP request of {} bytes is too large", protobuf.size()));
    }
    google::protobuf::io::ArrayInputStream input(protobuf.data(),
                                                 static_cast<int>(protobuf.size()));
    google::protobuf::io::CodedInputStream coded(&input);
    coded.SetRecursionLimit(kRecursionMax);
    if (!request->ParseFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
        return Error(ErrorCode::kInvalidArgument,
                     "the body is not an OTLP ExportLogsServiceRequest");
    }
    return OtlpRows(limits, settings).run(*request);
}

Result<DecodedRows> decode_otlp_logs_json(std::string_view json,
                                          const DecodeLimits& limits,
                                          const DecodeSettings& settings) {
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    MS_TRY(const auto findings, parse_otlp_json(json, *request));
    return OtlpRows(limits, settings).run(*request, findings);
}

}  // namespace molesignal
