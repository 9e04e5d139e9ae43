#include "api/http/route_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/error_form.h"
#include "common/assert.h"
#include "common/nearest_name.h"

namespace molesignal {
namespace {

std::vector<std::string_view> split_path(std::string_view path) {
    std::vector<std::string_view> segments;
    std::size_t begin = 0;
    while (begin < path.size()) {
        auto end = path.find('/', begin);
        if (end == std::string_view::npos) {
            end = path.size();
        }
        if (end > begin) {
            segments.push_back(path.substr(begin, end - begin));
        }
        begin = end + 1;
    }
    return segments;
}

bool is_parameter(std::string_view segment) {
    return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

/// Whether the path fits the pattern.
bool matches(const std::vector<std::string>& pattern, const std::vector<std::string_view>& path) {
    return std::ranges::equal(pattern, path, [](const std::string& wanted, std::string_view given) {
        return is_parameter(wanted) || wanted == given;
    });
}

PathParameters parameters_of(const std::vector<std::string>& pattern,
                             const std::vector<std::string_view>& path) {
    PathParameters parameters;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (is_parameter(pattern[i])) {
            parameters.emplace(pattern[i].substr(1, pattern[i].size() - 2), path[i]);
        }
    }
    return parameters;
}

void append_responses(std::string& out, const Route& route) {
    out += R"("responses":{"200":{"description":"success","content":{)";
    append_json_string(out, route.response_type);
    out += R"(:{}}},"default":{"description":"error","content":{"application/json":)"
           R"({"schema":{"$ref":"#/components/schemas/Error"}}}}})";
}

void append_operation(std::string& out, const Route& route) {
    out += "{\"summary\":";
    append_json_string(out, route.summary);
    out += R"(,"x-permission":)";
    append_json_string(out, permission_name(route.permission));
    if (route.permission == Permission::kPublic) {
        out += R"(,"security":[])";
    }
    out += R"(,"parameters":[)";
    bool first = true;
    const auto add = [&](std::string_view name,
                         std::string_view in,
                         std::string_view description,
                         bool required) {
        out += first ? "{\"name\":" : ",{\"name\":";
        first = false;
        append_json_string(out, name);
        out += ",\"in\":";
        append_json_string(out, in);
        out += ",\"description\":";
        append_json_string(out, description);
        out += required ? R"(,"required":true,"schema":{"type":"string"}})"
                        : R"(,"schema":{"type":"string"}})";
    };
    for (const auto segment : split_path(route.path)) {
        if (is_parameter(segment)) {
            add(segment.substr(1, segment.size() - 2), "path", "", true);
        }
    }
    for (const auto& parameter : route.parameters) {
        add(parameter.name, parameter.in, parameter.description, parameter.required);
    }
    out += "],";
    if (!route.request_type.empty()) {
        out += R"("requestBody":{"content":{)";
        append_json_string(out, route.request_type);
        out += ":{}}},";
    }
    append_responses(out, route);
    out += "}";
}

}  // namespace

const std::string& ApiCall::path_parameter(std::string_view name) const {
    const auto found = path_parameters.find(name);
    MS_ASSERT(found != path_parameters.end());
    return found->second;
}

void RouteTable::add(Route route) {
    for (const auto& known : routes_) {
        MS_ASSERT(known.method != route.method || known.path != route.path);
    }
    MS_ASSERT(!route.is_probe || route.permission == Permission::kPublic);
    auto& segments = segments_.emplace_back();
    for (const auto segment : split_path(route.path)) {
        segments.emplace_back(segment);
    }
    routes_.push_back(std::move(route));
}

RouteTable::Match RouteTable::find(std::string_view method, std::string_view path) const {
    Match match;
    const auto wanted = method == "HEAD" ? std::string_view("GET") : method;
    const auto given = split_path(path);
    for (std::size_t i = 0; i < routes_.size(); ++i) {
        if (!matches(segments_[i], given)) {
            continue;
        }
        if (routes_[i].method == wanted) {
            match.route = &routes_[i];
            match.path_parameters = parameters_of(segments_[i], given);
            return match;
        }
        match.allowed_methods.push_back(routes_[i].method);
    }
    return match;
}

std::string RouteTable::openapi_json(std::string_view version) const {
    std::string out = R"({"openapi":"3.1.0","info":{"title":"MoleSignal","version":)";
    append_json_string(out, version);
    out +=
        R"(},"security":[{"bearer":[]},{"basic":[]}],"components":{"securitySchemes":{)"
        R"("bearer":{"type":"http","scheme":"bearer"},"basic":{"type":"http","scheme":"basic"}},)"
        R"("schemas":{"Error":{"type":"object","required":["error","message"],"properties":{)"
        R"("error":{"type":"string"},"message":{"type":"string"},"request_id":{"type":"string"}}}}},"paths":{)";
    std::vector<std::string> paths;
    for (const auto& route : routes_) {
        if (std::ranges::find(paths, route.path) == paths.end()) {
            paths.push_back(route.path);
        }
    }
    for (std::size_t i = 0; i < paths.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, paths[i]);
        out += ":{";
        bool first = true;
        for (const auto& route : routes_) {
            if (route.path != paths[i]) {
                continue;
            }
            auto method = route.method;
            std::ranges::transform(
                method, method.begin(), [](unsigned char c) { return std::tolower(c); });
            out += first ? "" : ",";
            first = false;
            append_json_string(out, method);
            out += ":";
            append_operation(out, route);
        }
        out += "}";
    }
    out += "}}";
    return out;
}

Result<> check_query_parameters(const Route& route, const HttpRequest& request) {
    std::vector<std::string_view> known;
    for (const auto& parameter : route.parameters) {
        if (parameter.in == "query") {
            known.push_back(parameter.name);
        }
    }
    std::vector<std::string_view> seen;
    for (const auto& [name, value] : request.query_parameters) {
        if (std::ranges::find(known, name) == known.end()) {
            const auto nearest = nearest_name(name, known);
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format("{} has no parameter '{}'{}",
                            route.path,
                            name,
                            nearest.has_value() ? fmt::format("; did you mean '{}'?", *nearest)
                            : known.empty()
                                ? " and takes none"
                                : fmt::format("; it takes {}", fmt::join(known, ", "))));
        }
        if (std::ranges::find(seen, name) != seen.end()) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("the parameter '{}' is given twice", name));
        }
        seen.push_back(name);
    }
    return {};
}

HttpResponse error_response(const Error& error, std::string_view request_id) {
    const auto& form = error_form(error.code());
    auto response = HttpResponse::error(form.http_status, form.name, error.message(), request_id);
    if (form.http_status == 429 || form.http_status == 503) {
        response.set_header("Retry-After", "1");
    }
    if (form.http_status == 413 || form.http_status == 422 || form.http_status == 429) {
        response.limit = setting_named_in(error.message());
    }
    if (form.http_status == 401) {
        response.set_header("WWW-Authenticate", "Bearer, Basic realm=\"molesignal\"");
    }
    return response;
}

}  // namespace molesignal
