#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace molesignal {

/// A small JSON request body, read strictly: a member that the route does not know is an error, so
/// that nothing a caller wrote is silently ignored. One thread at a time.
class JsonObject {
public:
    /// Parses `text`. kTooLarge above `bytes_max` bytes, kInvalidArgument if it is not one object.
    static Result<JsonObject> parse(std::string_view text, std::size_t bytes_max);
    JsonObject(JsonObject&&) noexcept;
    ~JsonObject();

    /// kInvalidArgument if a member is not among `known`, with the nearest known name.
    Result<> allow_only(const std::vector<std::string_view>& known) const;
    bool has(std::string_view name) const;
    bool is_text(std::string_view name) const;
    /// Nothing if the member is missing; null counts as missing. kInvalidArgument for another type.
    Result<std::optional<std::string>> text(std::string_view name) const;
    Result<std::optional<std::int64_t>> integer(std::string_view name) const;
    /// A time, in microseconds since 1970: such a number, or a text that parse_time_argument takes.
    Result<std::optional<std::int64_t>> time(std::string_view name, UnixNanos now) const;
    Result<std::optional<std::vector<std::string>>> texts(std::string_view name) const;
    /// Members of an object whose values are strings.
    Result<std::optional<std::map<std::string, std::string>>> text_map(std::string_view name) const;
    Result<std::optional<JsonObject>> object(std::string_view name) const;
    bool is_null(std::string_view name) const;

private:
    struct Implementation;
    explicit JsonObject(std::unique_ptr<Implementation> implementation);
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace molesignal
