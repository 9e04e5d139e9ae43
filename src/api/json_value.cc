#include "api/json_value.h"

#include <algorithm>

#include <fmt/format.h>
#include <simdjson.h>

#include "common/nearest_name.h"
#include "common/time_argument.h"

namespace molesignal {

struct JsonObject::Implementation {
    // Shared by the objects inside: the parser owns the document's memory.
    std::shared_ptr<simdjson::dom::parser> parser;
    simdjson::dom::object object;
    std::string path;  // "time_range." for the messages of an inner object.
};

JsonObject::JsonObject(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
JsonObject::JsonObject(JsonObject&&) noexcept = default;
JsonObject::~JsonObject() = default;

namespace {

Error wrong_type(const std::string& path, std::string_view name, std::string_view want) {
    return {ErrorCode::kInvalidArgument, fmt::format("'{}{}' must be {}", path, name, want)};
}

std::optional<simdjson::dom::element> find(const simdjson::dom::object& object,
                                           std::string_view name) {
    simdjson::dom::element element;
    if (object.at_key(name).get(element) != simdjson::SUCCESS || element.is_null()) {
        return std::nullopt;
    }
    return element;
}

}  // namespace

Result<JsonObject> JsonObject::parse(std::string_view text, std::size_t bytes_max) {
    if (text.size() > bytes_max) {
        return Error(ErrorCode::kTooLarge,
                     fmt::format("the request body has {} bytes, this route takes at most {}",
                                 text.size(),
                                 bytes_max));
    }
    auto implementation = std::make_unique<Implementation>();
    implementation->parser = std::make_shared<simdjson::dom::parser>();
    simdjson::dom::element root;
    if (const auto error = implementation->parser->parse(text.data(), text.size()).get(root);
        error != simdjson::SUCCESS) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format("the request body is not JSON: {}", simdjson::error_message(error)));
    }
    if (root.get(implementation->object) != simdjson::SUCCESS) {
        return Error(ErrorCode::kInvalidArgument, "the request body must be a JSON object");
    }
    return JsonObject(std::move(implementation));
}

Result<> JsonObject::allow_only(const std::vector<std::string_view>& known) const {
    for (const auto member : implementation_->object) {
        if (std::ranges::find(known, member.key) == known.end()) {
            const auto nearest = nearest_name(member.key, known);
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format(
                    "unknown member '{}{}'{}; known are {}",
                    implementation_->path,
                    member.key,
                    nearest.has_value() ? fmt::format("; did you mean '{}'?", *nearest) : "",
                    fmt::join(known, ", ")));
        }
    }
    return {};
}

bool JsonObject::has(std::string_view name) const {
    simdjson::dom::element element;
    return implementation_->object.at_key(name).get(element) == simdjson::SUCCESS;
}

bool JsonObject::is_null(std::string_view name) const {
    return has(name) && !find(implementation_->object, name).has_value();
}

Result<std::optional<std::string>> JsonObject::text(std::string_view name) const {
    const auto element = find(implementation_->object, name);
    if (!element.has_value()) {
        return std::optional<std::string>();
    }
    std::string_view value;
    if (element->get(value) != simdjson::SUCCESS) {
        return wrong_type(implementation_->path, name, "a string");
    }
    return std::optional(std::string(value));
}

Result<std::optional<std::int64_t>> JsonObject::integer(std::string_view name) const {
    const auto element = find(implementation_->object, name);
    if (!element.has_value()) {
        return std::optional<std::int64_t>();
    }
    std::int64_t value = 0;
    if (element->get(value) != simdjson::SUCCESS) {
        return wrong_type(implementation_->path, name, "an integer");
    }
    return std::optional(value);
}

bool JsonObject::is_text(std::string_view name) const {
    const auto element = find(implementation_->object, name);
    return element.has_value() && element->is_string();
}

Result<std::optional<std::int64_t>> JsonObject::time(std::string_view name, UnixNanos now) const {
    if (!is_text(name)) {
        auto number = integer(name);
        if (!number) {
            return wrong_type(
                implementation_->path, name, "a time: microseconds since 1970 or a text");
        }
        return number;
    }
    MS_TRY(const auto value, text(name));
    auto parsed = parse_time_argument(*value, now);
    if (!parsed) {
        return std::move(parsed).error().wrap(fmt::format("'{}{}'", implementation_->path, name));
    }
    return std::optional(*parsed);
}

Result<std::optional<std::vector<std::string>>> JsonObject::texts(std::string_view name) const {
    const auto element = find(implementation_->object, name);
    if (!element.has_value()) {
        return std::optional<std::vector<std::string>>();
    }
    simdjson::dom::array array;
    if (element->get(array) != simdjson::SUCCESS) {
        return wrong_type(implementation_->path, name, "an array of strings");
    }
    std::vector<std::string> values;
    for (const auto item : array) {
        std::string_view value;
        if (item.get(value) != simdjson::SUCCESS) {
            return wrong_type(implementation_->path, name, "an array of strings");
        }
        values.emplace_back(value);
    }
    return std::optional(std::move(values));
}

Result<std::optional<std::map<std::string, std::string>>> JsonObject::text_map(
    std::string_view name) const {
    MS_TRY(const auto inner, object(name));
    if (!inner.has_value()) {
        return std::optional<std::map<std::string, std::string>>();
    }
    std::map<std::string, std::string> values;
    for (const auto member : inner->implementation_->object) {
        std::string_view value;
        if (member.value.get(value) != simdjson::SUCCESS) {
            return wrong_type(implementation_->path, name, "an object with string values");
        }
        values.emplace(member.key, value);
    }
    return std::optional(std::move(values));
}

Result<std::optional<JsonObject>> JsonObject::object(std::string_view name) const {
    const auto element = find(implementation_->object, name);
    if (!element.has_value()) {
        return std::optional<JsonObject>();
    }
    auto inner = std::make_unique<Implementation>();
    inner->parser = implementation_->parser;
    inner->path = fmt::format("{}{}.", implementation_->path, name);
    if (element->get(inner->object) != simdjson::SUCCESS) {
        return wrong_type(implementation_->path, name, "an object");
    }
    return std::optional(JsonObject(std::move(inner)));
}

}  // namespace molesignal
