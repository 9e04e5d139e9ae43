#include "ingest/otlp_decoder.h"

#include <bit>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb.h"

namespace molesignal {
namespace {

using Request = opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
constexpr std::int64_t kNow = 1'790'000'000'000'000'000;

std::string cell(const DecodedRows& decoded,
                 std::string_view name,
                 FieldType type,
                 std::uint32_t row = 0) {
    const auto& batch = decoded.batches.at(0);
    const auto index = batch.find(name, type);
    if (index < 0 || batch.columns[static_cast<std::size_t>(index)].is_null(row)) {
        return "absent";
    }
    const auto& column = batch.columns[static_cast<std::size_t>(index)];
    if (is_variable_width(type)) {
        return std::string(column.text(row));
    }
    return type == FieldType::kFloat64
               ? fmt::format("{}", std::bit_cast<double>(column.fixed(row)))
               : std::to_string(static_cast<std::int64_t>(column.fixed(row)));
}

Request full_request() {
    Request request;
    auto& resource = *request.add_resource_logs();
    auto& service = *resource.mutable_resource()->add_attributes();
    service.set_key("service.name");
    service.mutable_value()->set_string_value("shop");
    auto& shared = *resource.mutable_resource()->add_attributes();
    shared.set_key("shared");
    shared.mutable_value()->set_string_value("resource");
    auto& scope = *resource.add_scope_logs();
    scope.mutable_scope()->set_name("lib");
    auto& record = *scope.add_log_records();
    record.set_time_unix_nano(kNow - 5);
    record.set_severity_number(opentelemetry::proto::logs::v1::SEVERITY_NUMBER_ERROR);
    record.set_severity_text("ERROR");
    record.mutable_body()->set_string_value("it failed");
    record.set_trace_id(
        std::string("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c", 16));
    record.set_span_id("short");
    const auto attribute =
        [&record](const std::string& key) -> opentelemetry::proto::common::v1::AnyValue& {
        auto& added = *record.add_attributes();
        added.set_key(key);
        return *added.mutable_value();
    };
    attribute("shared").set_string_value("record");
    attribute("count").set_int_value(-7);
    attribute("ratio").set_double_value(0.25);
    attribute("ok").set_bool_value(true);
    attribute("raw").set_bytes_value(std::string("\x00\xff", 2));
    auto& nested = *attribute("nested").mutable_kvlist_value()->add_values();
    nested.set_key("inner");
    nested.mutable_value()->set_int_value(3);
    attribute("list").mutable_array_value()->add_values()->set_string_value("a\"b");
    attribute("nothing");
    return request;
}

TEST(OtlpDecoder, EveryKindOfValueHasItsColumn) {
    const auto bytes = full_request().SerializeAsString();
    const auto decoded = decode_otlp_logs(as_bytes(bytes), {}, {.now_ns = kNow});
    ASSERT_TRUE(decoded) << decoded.error().message();
    ASSERT_EQ(decoded->batches.at(0).rows(), 1U);
    EXPECT_EQ(decoded->batches.at(0).timestamps[0], kNow - 5);
    EXPECT_EQ(cell(*decoded, "service.name", FieldType::kString), "shop");
    EXPECT_EQ(cell(*decoded, "shared", FieldType::kString), "record");
    EXPECT_EQ(cell(*decoded, "scope_name", FieldType::kString), "lib");
    EXPECT_EQ(cell(*decoded, "scope_version", FieldType::kString), "absent");
    EXPECT_EQ(cell(*decoded, "severity_number", FieldType::kInt64), "17");
    EXPECT_EQ(cell(*decoded, "body", FieldType::kString), "it failed");
    EXPECT_EQ(cell(*decoded, "trace_id", FieldType::kString), "0af7651916cd43dd8448eb211c80319c");
    EXPECT_EQ(cell(*decoded, "span_id", FieldType::kString), "absent");
    EXPECT_EQ(cell(*decoded, "count", FieldType::kInt64), "-7");
    EXPECT_EQ(cell(*decoded, "ratio", FieldType::kFloat64), "0.25");
    EXPECT_EQ(cell(*decoded, "ok", FieldType::kBool), "1");
    EXPECT_EQ(cell(*decoded, "raw", FieldType::kBytes), std::string("\x00\xff", 2));
    EXPECT_EQ(cell(*decoded, "nested.inner", FieldType::kInt64), "3");
    EXPECT_EQ(cell(*decoded, "list", FieldType::kJson), R"(["a\"b"])");
    EXPECT_LT(decoded->batches.at(0).find("nothing", FieldType::kString), 0);
}

TEST(OtlpDecoder, JsonSaysTheSame) {
    const auto decoded = decode_otlp_logs_json(
        R"({"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
            "scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"1789999999999999995","severity_number":17,
            "body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}},
            "traceId":"0AF7651916CD43DD8448EB211C80319C","unknown":{"x":[1]},
            "attributes":[{"key":"count","value":{"intValue":"-7"}},{"key":"nan","value":{"doubleValue":"NaN"}},
                          {"key":"raw","value":{"bytesValue":"AP8="}}]}]}]}]})",
        {},
        {.now_ns = kNow});
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(decoded->batches.at(0).timestamps[0], kNow - 5);
    EXPECT_EQ(cell(*decoded, "body", FieldType::kJson), R"({"a":1})");
    EXPECT_EQ(cell(*decoded, "severity_number", FieldType::kInt64), "17");
    EXPECT_EQ(cell(*decoded, "trace_id", FieldType::kString), "0af7651916cd43dd8448eb211c80319c");
    EXPECT_EQ(cell(*decoded, "count", FieldType::kInt64), "-7");
    EXPECT_EQ(cell(*decoded, "nan", FieldType::kFloat64), "nan");
    EXPECT_EQ(cell(*decoded, "raw", FieldType::kBytes), std::string("\x00\xff", 2));
    for (const auto* broken : {"",
                               "[]",
                               "{\"resourceLogs\":5}",
                               "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":5}]}]}",
                               "{\"resourceLogs\":[{\"scopeLogs\":[{\"scope\":5}]}]}"}) {
        EXPECT_FALSE(decode_otlp_logs_json(broken, {}, {.now_ns = kNow})) << broken;
    }
}

TEST(OtlpDecoder, DamagedMessagesAreErrorsOrOtherRowsNeverACrash) {
    const auto bytes = full_request().SerializeAsString();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        (void)decode_otlp_logs(as_bytes(bytes).first(size), {}, {.now_ns = kNow});
    }
    SeededRandom random(11);
    for (int round = 0; round < 2000; ++round) {
        auto damaged = bytes;
        damaged[random.next_u64() % damaged.size()] = static_cast<char>(random.next_u64());
        (void)decode_otlp_logs(as_bytes(damaged), {}, {.now_ns = kNow});
    }
    EXPECT_FALSE(decode_otlp_logs(as_bytes("\xff\xff\xff"), {}, {.now_ns = kNow}));
}

TEST(OtlpDecoder, DeepValuesAreRefusedAndManyRecordsNameTheLimit) {
    Request deep;
    auto* value = deep.add_resource_logs()->add_scope_logs()->add_log_records()->mutable_body();
    for (int i = 0; i < 200; ++i) {
        value = value->mutable_array_value()->add_values();
    }
    EXPECT_FALSE(decode_otlp_logs(as_bytes(deep.SerializeAsString()), {}, {.now_ns = kNow}));
    Request many;
    for (int i = 0; i < 3; ++i) {
        many.add_resource_logs()->add_scope_logs()->add_log_records();
    }
    const auto refused =
        decode_otlp_logs(as_bytes(many.SerializeAsString()), {.rows_max = 2}, {.now_ns = kNow});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kTooLarge);
    EXPECT_NE(refused.error().message().find("ingester.rows_per_request_max"), std::string::npos);
}

TEST(OtlpDecoder, ABadJsonRecordDoesNotSpoilTheOthers) {
    const auto decoded = decode_otlp_logs_json(
        R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xy"},{"severityText":"A"},
            {"timeUnixNano":"soon"},{"severityText":"B"},{"body":5}]}]}]})",
        {},
        {.now_ns = kNow});
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(decoded->accepted, 2U);
    EXPECT_EQ(cell(*decoded, "severity_text", FieldType::kString, 1), "B");
    ASSERT_EQ(decoded->errors.size(), 3U);
    EXPECT_EQ(decoded->errors[0].index, 0U);
    EXPECT_EQ(decoded->errors[1].index, 2U);
    EXPECT_EQ(decoded->errors[2].index, 4U);
    EXPECT_NE(decoded->errors[0].reason.find("traceId"), std::string::npos);
}

TEST(OtlpDecoder, ARowsBytesIncludeItsResourceAndScope) {
    Request request;
    auto& resource = *request.add_resource_logs();
    auto& shared = *resource.mutable_resource()->add_attributes();
    shared.set_key("large");
    shared.mutable_value()->set_string_value(std::string(900, 'x'));
    auto& scope = *resource.add_scope_logs();
    scope.add_log_records()->mutable_body()->set_string_value("short");
    scope.add_log_records()->mutable_body()->set_string_value(std::string(200, 'y'));
    const auto decoded = decode_otlp_logs(
        as_bytes(request.SerializeAsString()), {.row_bytes_max = 1000}, {.now_ns = kNow});
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->accepted, 1U);
    EXPECT_EQ(decoded->by_reason[static_cast<int>(RejectReason::kTooLarge)], 1U);
    EXPECT_NE(decoded->errors.at(0).reason.find("ingester.row_bytes_max"), std::string::npos);
}

TEST(OtlpDecoder, ASharedResourceCannotGrowWithoutBound) {
    Request request;
    auto& resource = *request.add_resource_logs();
    auto& shared = *resource.mutable_resource()->add_attributes();
    shared.set_key("large");
    shared.mutable_value()->set_string_value(std::string(100'000, 'x'));
    auto& scope = *resource.add_scope_logs();
    for (int i = 0; i < 1000; ++i) {
        scope.add_log_records();
    }
    const auto decoded = decode_otlp_logs(
        as_bytes(request.SerializeAsString()), {.decoded_bytes_max = 8U << 20U}, {.now_ns = kNow});
    ASSERT_FALSE(decoded);
    EXPECT_NE(decoded.error().message().find("ingester.decode_memory_mb"), std::string::npos);
}

TEST(OtlpDecoder, TextThatIsNotUtf8IsRepairedAndBytesOfExtraAreBase64) {
    Request request;
    auto& record = *request.add_resource_logs()->add_scope_logs()->add_log_records();
    record.mutable_body()->set_string_value("cut \xe2\x82");
    auto& key = *record.add_attributes();
    key.set_key("k\xff");
    key.mutable_value()->set_int_value(1);
    auto& raw = *record.add_attributes();
    raw.set_key("raw");
    raw.mutable_value()->set_bytes_value(std::string("\x00\xff", 2));
    const auto decoded =
        decode_otlp_logs(as_bytes(request.SerializeAsString()),
                         {},
                         {.now_ns = kNow, .pinned_types = {{"raw", FieldType::kString}}});
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(cell(*decoded, "body", FieldType::kString), "cut \xef\xbf\xbd");
    EXPECT_EQ(cell(*decoded, "k\xef\xbf\xbd", FieldType::kInt64), "1");
    EXPECT_EQ(cell(*decoded, "_extra", FieldType::kJson), R"({"raw":"AP8="})");
    EXPECT_EQ(decoded->repaired_texts, 2U);
}

}  // namespace
}  // namespace molesignal
