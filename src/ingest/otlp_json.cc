#include "ingest/otlp_json.h"

#include <charconv>
#include <limits>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <simdjson.h>

#include "ingest/json_repair.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb.h"

namespace molesignal {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace logs = opentelemetry::proto::logs::v1;
namespace dom = simdjson::dom;

constexpr int kDepthMax = 100;

Error wrong(std::string_view name, std::string_view want) {
    return {ErrorCode::kInvalidArgument, fmt::format("OTLP JSON: '{}' must be {}", name, want)};
}

/// 64-bit integers are strings in protobuf's JSON; numbers are taken too.
template <class Integer>
Result<Integer> integer(std::string_view name, dom::element value) {
    if (std::string_view text; value.get(text) == simdjson::SUCCESS) {
        Integer number{};
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
        if (parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size()) {
            return number;
        }
    } else if (std::int64_t number = 0; value.get(number) == simdjson::SUCCESS) {
        if (std::in_range<Integer>(number)) {
            return static_cast<Integer>(number);
        }
    } else if (std::uint64_t large = 0; value.get(large) == simdjson::SUCCESS) {
        if (std::in_range<Integer>(large)) {
            return static_cast<Integer>(large);
        }
    }
    return wrong(name, "an integer, as a number or a string");
}

Result<std::string> text(std::string_view name, dom::element value) {
    std::string_view found;
    if (value.get(found) != simdjson::SUCCESS) {
        return wrong(name, "a string");
    }
    return std::string(found);
}

int hex_digit(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    const char lower = static_cast<char>(character | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

Result<std::string> hex_bytes(std::string_view name, dom::element value) {
    MS_TRY(const auto digits, text(name, value));
    std::string bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        const auto high = hex_digit(digits[i]);
        const auto low = hex_digit(digits[i + 1]);
        if (high < 0 || low < 0) {
            return wrong(name, "hexadecimal");
        }
        bytes.push_back(static_cast<char>(high << 4 | low));
    }
    if (digits.size() % 2 != 0) {
        return wrong(name, "hexadecimal with an even number of digits");
    }
    return bytes;
}

Result<std::string> base64_bytes(std::string_view name, dom::element value) {
    MS_TRY(const auto digits, text(name, value));
    std::string bytes;
    std::uint32_t group = 0;
    int bits = 0;
    for (const char digit : digits) {
        int number = -1;
        if (digit >= 'A' && digit <= 'Z') {
            number = digit - 'A';
        } else if (digit >= 'a' && digit <= 'z') {
            number = digit - 'a' + 26;
        } else if (digit >= '0' && digit <= '9') {
            number = digit - '0' + 52;
        } else if (digit == '+' || digit == '-') {
            number = 62;
        } else if (digit == '/' || digit == '_') {
            number = 63;
        } else if (digit == '=') {
            break;
        }
        if (number < 0) {
            return wrong(name, "base64");
        }
        group = group << 6U | static_cast<std::uint32_t>(number);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes.push_back(static_cast<char>(group >> bits & 0xffU));
        }
    }
    return bytes;
}

/// "timeUnixNano" and "time_unix_nano" are one name.
bool is_name(std::string_view key, std::string_view camel) {
    std::size_t at = 0;
    for (const char character : camel) {
        const bool upper = character >= 'A' && character <= 'Z';
        if (upper && at < key.size() && key[at] == '_') {
            ++at;
            if (at >= key.size() || key[at] != static_cast<char>(character | 0x20)) {
                return false;
            }
        } else if (at >= key.size() || key[at] != character) {
            return false;
        }
        ++at;
    }
    return at == key.size();
}

Result<dom::object> object_of(std::string_view name, dom::element value) {
    dom::object object;
    if (value.get(object) != simdjson::SUCCESS) {
        return wrong(name, "an object");
    }
    return object;
}

Result<dom::array> array_of(std::string_view name, dom::element value) {
    dom::array array;
    if (value.get(array) != simdjson::SUCCESS) {
        return wrong(name, "an array");
    }
    return array;
}

Result<> read_value(dom::element element, common::AnyValue& out, int depth);

Result<> read_attributes(dom::element element,
                         google::protobuf::RepeatedPtrField<common::KeyValue>& out,
                         int depth) {
    MS_TRY(const auto array, array_of("attributes", element));
    for (const auto item : array) {
        MS_TRY(const auto object, object_of("attribute", item));
        auto& attribute = *out.Add();
        for (const auto member : object) {
            if (member.key == "key") {
                MS_TRY(*attribute.mutable_key(), text("key", member.value));
            } else if (member.key == "value") {
                MS_TRY_VOID(read_value(member.value, *attribute.mutable_value(), depth + 1));
            }
        }
    }
    return {};
}

Result<> read_double(dom::element element, common::AnyValue& out) {
    double number = 0;
    if (element.get(number) == simdjson::SUCCESS) {
        out.set_double_value(number);
        return {};
    }
    MS_TRY(const auto word, text("doubleValue", element));
    if (word == "NaN") {
        out.set_double_value(std::numeric_limits<double>::quiet_NaN());
    } else if (word == "Infinity" || word == "-Infinity") {
        out.set_double_value(word.front() == '-' ? -std::numeric_limits<double>::infinity()
                                                 : std::numeric_limits<double>::infinity());
    } else {
        return wrong("doubleValue", "a number");
    }
    return {};
}

Result<> read_value(dom::element element, common::AnyValue& out, int depth) {
    if (depth > kDepthMax) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("OTLP JSON: values nest deeper than {} levels", kDepthMax));
    }
    if (element.is_null()) {
        return {};
    }
    MS_TRY(const auto object, object_of("value", element));
    for (const auto [key, value] : object) {
        if (is_name(key, "stringValue")) {
            MS_TRY(*out.mutable_string_value(), text(key, value));
        } else if (is_name(key, "boolValue")) {
            bool flag = false;
            if (value.get(flag) != simdjson::SUCCESS) {
                return wrong(key, "true or false");
            }
            out.set_bool_value(flag);
        } else if (is_name(key, "intValue")) {
            MS_TRY(const auto number, integer<std::int64_t>(key, value));
            out.set_int_value(number);
        } else if (is_name(key, "doubleValue")) {
            MS_TRY_VOID(read_double(value, out));
        } else if (is_name(key, "bytesValue")) {
            MS_TRY(*out.mutable_bytes_value(), base64_bytes(key, value));
        } else if (is_name(key, "arrayValue") || is_name(key, "kvlistValue")) {
            MS_TRY(const auto holder, object_of(key, value));
            dom::element values;
            const bool has_values = holder.at_key("values").get(values) == simdjson::SUCCESS;
            if (is_name(key, "kvlistValue")) {
                auto& list = *out.mutable_kvlist_value();
                if (has_values) {
                    MS_TRY_VOID(read_attributes(values, *list.mutable_values(), depth + 1));
                }
                continue;
            }
            auto& list = *out.mutable_array_value();
            if (has_values) {
                MS_TRY(const auto items, array_of(key, values));
                for (const auto item : items) {
                    MS_TRY_VOID(read_value(item, *list.add_values(), depth + 1));
                }
            }
        }
    }
    return {};
}

Result<> read_record(dom::element element, logs::LogRecord& record) {
    MS_TRY(const auto object, object_of("logRecords", element));
    for (const auto [key, value] : object) {
        if (value.is_null()) {
            continue;
        }
        if (is_name(key, "timeUnixNano")) {
            MS_TRY(const auto time, integer<std::uint64_t>(key, value));
            record.set_time_unix_nano(time);
        } else if (is_name(key, "observedTimeUnixNano")) {
            MS_TRY(const auto time, integer<std::uint64_t>(key, value));
            record.set_observed_time_unix_nano(time);
        } else if (is_name(key, "severityNumber")) {
            MS_TRY(const auto number, integer<std::int32_t>(key, value));
            record.set_severity_number(static_cast<logs::SeverityNumber>(number));
        } else if (is_name(key, "severityText")) {
            MS_TRY(*record.mutable_severity_text(), text(key, value));
        } else if (is_name(key, "eventName")) {
            MS_TRY(*record.mutable_event_name(), text(key, value));
        } else if (is_name(key, "traceId")) {
            MS_TRY(*record.mutable_trace_id(), hex_bytes(key, value));
        } else if (is_name(key, "spanId")) {
            MS_TRY(*record.mutable_span_id(), hex_bytes(key, value));
        } else if (is_name(key, "flags")) {
            MS_TRY(const auto flags, integer<std::uint32_t>(key, value));
            record.set_flags(flags);
        } else if (key == "body") {
            MS_TRY_VOID(read_value(value, *record.mutable_body(), 0));
        } else if (key == "attributes") {
            MS_TRY_VOID(read_attributes(value, *record.mutable_attributes(), 0));
        }
    }
    return {};
}

/// Numbers the records of a request as they are read.
struct RecordCount {
    std::uint64_t next = 0;
    OtlpJsonFindings findings;
};

Result<> read_scope(dom::element element, logs::ScopeLogs& scope, RecordCount& count) {
    MS_TRY(const auto object, object_of("scopeLogs", element));
    for (const auto [key, value] : object) {
        if (value.is_null()) {
            continue;
        }
        if (key == "scope") {
            MS_TRY(const auto inner, object_of(key, value));
            for (const auto [name, part] : inner) {
                if (name == "name") {
                    MS_TRY(*scope.mutable_scope()->mutable_name(), text(name, part));
                } else if (name == "version") {
                    MS_TRY(*scope.mutable_scope()->mutable_version(), text(name, part));
                }
            }
        } else if (is_name(key, "logRecords")) {
            MS_TRY(const auto records, array_of(key, value));
            for (const auto record : records) {
                const auto number = count.next++;
                if (auto read = read_record(record, *scope.add_log_records()); !read) {
                    scope.mutable_log_records()->RemoveLast();
                    count.findings.refused.emplace_back(number, read.error().message());
                }
            }
        }
    }
    return {};
}

Result<> read_resource(dom::element element, logs::ResourceLogs& resource, RecordCount& count) {
    MS_TRY(const auto object, object_of("resourceLogs", element));
    for (const auto [key, value] : object) {
        if (value.is_null()) {
            continue;
        }
        if (key == "resource") {
            MS_TRY(const auto inner, object_of(key, value));
            dom::element attributes;
            if (inner.at_key("attributes").get(attributes) == simdjson::SUCCESS &&
                !attributes.is_null()) {
                MS_TRY_VOID(read_attributes(
                    attributes, *resource.mutable_resource()->mutable_attributes(), 0));
            }
        } else if (is_name(key, "scopeLogs")) {
            MS_TRY(const auto scopes, array_of(key, value));
            for (const auto scope : scopes) {
                MS_TRY_VOID(read_scope(scope, *resource.add_scope_logs(), count));
            }
        }
    }
    return {};
}

}  // namespace

Result<OtlpJsonFindings> parse_otlp_json(
    std::string_view json,
    opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest& request) {
    dom::parser parser;
    dom::element root;
    RecordCount count;
    auto error = parser.parse(json.data(), json.size()).get(root);
    if (error == simdjson::UTF8_ERROR || error == simdjson::UNESCAPED_CHARS ||
        error == simdjson::STRING_ERROR) {
        error = parser.parse(repair_json(json)).get(root);
        count.findings.repaired = true;
    }
    if (error != simdjson::SUCCESS) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("the body is not JSON: {}", simdjson::error_message(error)));
    }
    MS_TRY(const auto object, object_of("request", root));
    for (const auto [key, value] : object) {
        if (is_name(key, "resourceLogs") && !value.is_null()) {
            MS_TRY(const auto resources, array_of(key, value));
            for (const auto resource : resources) {
                MS_TRY_VOID(read_resource(resource, *request.add_resource_logs(), count));
            }
        }
    }
    return std::move(count.findings);
}

}  // namespace molesignal
