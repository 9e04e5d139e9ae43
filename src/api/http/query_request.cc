#include "api/http/query_request.h"

#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "common/nearest_name.h"

namespace molesignal {
namespace {

Result<SqlTimeRange> parse_time_range(const JsonObject& body, UnixNanos now) {
    SqlTimeRange range;
    MS_TRY(const auto member, body.object("time_range"));
    if (!member.has_value()) {
        return range;
    }
    MS_TRY_VOID(member->allow_only({"start", "end"}));
    MS_TRY(const auto start, member->time("start", now));
    MS_TRY(const auto end, member->time("end", now));
    range.start_us = start.value_or(INT64_MIN);
    range.end_us = end.value_or(INT64_MAX);
    if (range.start_us >= range.end_us) {
        const auto show = [](const std::optional<std::int64_t>& micros, std::string_view missing) {
            return micros.has_value() ? std::to_string(*micros) : std::string(missing);
        };
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'time_range' is empty: start {} is not before end {}",
                                 show(start, "(the beginning)"),
                                 show(end, "(the end of time)")));
    }
    return range;
}

Result<std::optional<std::chrono::milliseconds>> parse_timeout(const JsonObject& body,
                                                               const QueryConfig& config) {
    MS_TRY(const auto timeout, body.integer("timeout_ms"));
    if (!timeout.has_value()) {
        return std::optional<std::chrono::milliseconds>();
    }
    const auto most = config.timeout_secs * 1000;
    if (*timeout < 1 || *timeout > most) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format(
                "'timeout_ms' is {}, allowed are 1 to {} (query.timeout_secs)", *timeout, most));
    }
    return std::optional(std::chrono::milliseconds(*timeout));
}

}  // namespace

// Logs are the only type that is stored, and the one that a name without a schema means first.
Result<std::optional<StreamInfo>> find_stream_member(const JsonObject& body,
                                                     ApiCall& call,
                                                     ApiServices& services) {
    std::string name;
    auto type = StreamType::kLogs;
    if (body.is_text("stream")) {
        MS_TRY(const auto text, body.text("stream"));
        name = *text;
    } else {
        const auto object = body.object("stream");
        if (!object) {
            return Error(ErrorCode::kInvalidArgument,
                         "'stream' must be a name, or an object with 'name' and 'stream_type'");
        }
        const auto& member = *object;
        if (!member.has_value()) {
            return std::optional<StreamInfo>();
        }
        MS_TRY_VOID(member->allow_only({"name", "stream_type"}));
        MS_TRY(const auto member_name, member->text("name"));
        MS_TRY(const auto type_name, member->text("stream_type"));
        if (!member_name.has_value()) {
            return Error(ErrorCode::kInvalidArgument, "'stream.name' is missing");
        }
        name = *member_name;
        MS_TRY(type, parse_stream_type(type_name.value_or("logs")));
    }
    MS_TRY(auto found,
           services.catalogue->find_stream(call.context, call.principal.org, type, name));
    if (found.has_value()) {
        return found;
    }
    const auto full_name = [](StreamType stream_type, std::string_view stream) {
        return fmt::format("{}.{}", stream_type_name(stream_type), stream);
    };
    MS_TRY(const auto streams, services.catalogue->list_streams(call.context, call.principal.org));
    std::vector<std::string> names;
    for (const auto& stream : streams) {
        names.push_back(full_name(stream.type, stream.name));
    }
    const auto wanted = full_name(type, name);
    const auto nearest = nearest_name(wanted, {names.begin(), names.end()});
    return Error(
        ErrorCode::kNotFound,
        fmt::format("'stream': no stream is called '{}'{}",
                    wanted,
                    nearest.has_value() ? fmt::format("; did you mean '{}'?", *nearest) : ""));
}

Result<SqlQuery> parse_query_members(const JsonObject& body, ApiCall& call, ApiServices& services) {
    SqlQuery query;
    query.org = call.principal.org;
    MS_TRY(auto id, body.text("query_id"));
    constexpr std::size_t kIdBytesMax = 128;
    if (id.has_value() && (id->empty() || id->size() > kIdBytesMax)) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'query_id' has 1 to {} bytes", kIdBytesMax));
    }
    query.id = id.has_value() ? std::move(*id) : make_ulid(services.clock.now(), services.random);
    MS_TRY(query.time_range, parse_time_range(body, services.clock.now()));
    const auto& config = services.config().query;
    MS_TRY(query.timeout, parse_timeout(body, config));
    query.limits = SqlLimits{.rows_max = config.rows_max,
                             .bytes_max = config.bytes_max,
                             .timeout = std::chrono::seconds(config.timeout_secs)};
    return query;
}

void append_json_texts(std::string& out, const std::vector<std::string>& texts) {
    out.push_back('[');
    for (std::size_t i = 0; i < texts.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_json_string(out, texts[i]);
    }
    out.push_back(']');
}

void append_query_end(std::string& out,
                      const SqlStats& stats,
                      bool partial,
                      const std::vector<std::string>& warnings) {
    out += fmt::format(
        R"("stats":{{"took_ms":{},"scanned_rows":{},"scanned_bytes":{},"parts_total":{},"parts_skipped":{},)"
        R"("row_groups_total":{},"row_groups_skipped":{},"index_parts":{},"index_parts_whole":{},"index_parts_counted":{},"index_rows":{},"index_filters":{},"object_gets":{},"cache_hits":{},"hot_rows":{}}},"partial":{},"warnings":)",
        stats.took_ms,
        stats.scanned_rows,
        stats.scanned_bytes,
        stats.parts_total,
        stats.parts_skipped,
        stats.row_groups_total,
        stats.row_groups_skipped,
        stats.index_parts,
        stats.index_parts_whole,
        stats.index_parts_counted,
        stats.index_rows,
        stats.index_filters,
        stats.object_gets,
        stats.cache_hits,
        stats.hot_rows,
        partial);
    append_json_texts(out, warnings);
}

}  // namespace molesignal
