#include "api/http/search_request.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>

#include "common/time_argument.h"
#include "query/search_condition.h"
#include "query/search_language.h"

namespace molesignal {
namespace {

/// The fields of a stream now: those of the catalogue and those that only hot rows have yet.
Result<SearchSchema> schema_of(const StreamInfo& stream, ApiCall& call, ApiServices& services) {
    const auto hot = services.ingester->hot_snapshot(stream.id);
    std::int64_t parts = 0;
    // A range of time that has no parts: only the schema is wanted.
    MS_TRY(auto snapshot,
           services.catalogue->snapshot(call.context, stream.id, INT64_MAX, INT64_MAX, parts));
    add_hot_fields(snapshot.schema, hot);
    return SearchSchema(snapshot.stream.settings, snapshot.schema);
}

/// The range of time as it was written: pages of `-15m` belong together, however late they come.
Result<std::string> written_range(const JsonObject& body) {
    std::string written;
    MS_TRY(const auto range, body.object("time_range"));
    for (const auto* name : {"start", "end"}) {
        written.push_back('\n');
        if (!range.has_value()) {
            continue;
        }
        if (range->is_text(name)) {
            MS_TRY(const auto text, range->text(name));
            written += text.value_or("");
        } else {
            MS_TRY(const auto number, range->integer(name));
            written += number.has_value() ? std::to_string(*number) : "";
        }
    }
    return written;
}

struct SearchPage {
    SearchRequest request;
    std::optional<RowPlace> after;
    std::int64_t limit = kSearchPageRowsDefault;
    SqlTimeRange range;  ///< Of the first page.
};

Result<SearchPage> parse_page(const JsonObject& body, ApiCall& call, ApiServices& services) {
    MS_TRY(auto request, parse_search_request(body, call, services));
    SearchPage page{.request = std::move(request), .after = {}, .range = {}};
    MS_TRY(const auto limit, body.integer("limit"));
    page.limit = limit.value_or(kSearchPageRowsDefault);
    if (page.limit < 1 || page.limit > kSearchPageRowsMax) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'limit' is {}, a page of a search has 1 to {} rows",
                                 page.limit,
                                 kSearchPageRowsMax));
    }
    auto& range = page.request.query.time_range;
    page.range = range;
    MS_TRY(const auto text, body.text("cursor"));
    if (text.has_value()) {
        MS_TRY(const auto cursor, decode_search_cursor(*text, page.request.scope));
        page.after = cursor.last;
        page.range = {.start_us = cursor.start_us, .end_us = cursor.end_us};
        range = page.range;
        range.end_us = std::min(range.end_us, cursor.last.time_us + 1);
    }
    return page;
}

}  // namespace

Result<SearchRequest> parse_search_request(const JsonObject& body,
                                           ApiCall& call,
                                           ApiServices& services) {
    MS_TRY(const auto language, body.text("language"));
    if (const auto named = language.value_or("search"); named != "search") {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("language '{}': this route speaks 'search'", named));
    }
    MS_TRY(const auto statement, body.text("statement"));
    MS_TRY(const auto search, parse_search(statement.value_or("")));
    MS_TRY(auto query, parse_query_members(body, call, services));
    MS_TRY(const auto written, written_range(body));
    MS_TRY(const auto stream, find_stream_member(body, call, services));
    if (!stream.has_value()) {
        return Error(ErrorCode::kInvalidArgument, "'stream' is missing: a search is of one stream");
    }
    MS_TRY(auto schema, schema_of(*stream, call, services));
    MS_TRY(auto condition, search_condition(search, schema, services.clock.now()));
    SearchRequest request{
        .schema = std::move(schema),
        .target = {.type = stream->type, .stream = stream->name, .condition = std::move(condition)},
        .scope = fmt::format("{}\n{}{}\n{}",
                             call.principal.org.value,
                             stream->id.value,
                             written,
                             search_text(search)),
        .query = std::move(query),
        .context = call.context};
    auto limits = request.query.limits.value_or(SqlLimits{});
    const auto timeout = std::min<std::chrono::nanoseconds>(
        limits.timeout, request.query.timeout.value_or(limits.timeout));
    request.context.deadline =
        std::min(call.context.deadline, services.clock.steady_now() + timeout);
    limits.bytes_max = std::min(limits.bytes_max, kSearchAnswerBytesMax);
    request.query.limits = limits;
    return request;
}

std::vector<std::string_view> AnswerRows::rows() const {
    std::vector<std::string_view> found;
    std::size_t depth = 0;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        switch (text[i]) {
            case '"':
                for (++i; text[i] != '"'; ++i) {
                    i += text[i] == '\\' ? 1 : 0;
                }
                break;
            case '[':
            case '{':
                begin = depth == 0 ? i : begin;
                ++depth;
                break;
            case ']':
            case '}':
                if (--depth == 0) {
                    found.push_back(std::string_view(text).substr(begin, i + 1 - begin));
                }
                break;
            default:
                break;
        }
    }
    return found;
}

Result<RowPlace> AnswerRows::place_of(std::string_view row) const {
    simdjson::dom::parser parser;
    simdjson::dom::array values;
    const Error broken(ErrorCode::kInternal, "a row without a place");
    if (parser.parse(row.data(), row.size()).get(values) != simdjson::SUCCESS) {
        return broken;
    }
    RowPlace place;
    std::size_t missing = 4;
    std::size_t i = 0;
    for (const auto value : values) {
        const auto& column = columns.at(i++);
        std::string_view time;
        if (column == kTimestampField && value.get(time) == simdjson::SUCCESS) {
            MS_TRY(place.time_us, parse_time_argument(time, UnixNanos{}));
            --missing;
            continue;
        }
        for (const auto& [name, number] : {std::pair{kTimestampNanosField, &place.nanos},
                                           {kShardField, &place.shard},
                                           {kPositionField, &place.position}}) {
            if (column == name && value.get(*number) == simdjson::SUCCESS) {
                --missing;
            }
        }
    }
    return missing == 0 ? Result<RowPlace>(place) : broken;
}

Result<AnswerRows> run_search_statement(const SearchRequest& request,
                                        std::string statement,
                                        ApiServices& services) {
    auto query = request.query;
    query.statement = std::move(statement);
    MS_TRY(const auto result, services.sql->run(request.context, std::move(query)));
    AnswerRows answer;
    bool more = true;
    while (more) {
        MS_TRY(more, result->next(SqlFormat::kJsonRows, answer.text));
    }
    answer.columns = result->columns();
    answer.column_types = result->column_types();
    answer.stats = result->stats();
    answer.partial = result->partial();
    answer.warnings = result->warnings();
    return answer;
}

void add_stats(SqlStats& total, const SqlStats& more) {
    total.took_ms += more.took_ms;
    total.scanned_rows += more.scanned_rows;
    total.scanned_bytes += more.scanned_bytes;
    total.parts_total += more.parts_total;
    total.parts_skipped += more.parts_skipped;
    total.row_groups_total += more.row_groups_total;
    total.row_groups_skipped += more.row_groups_skipped;
    total.index_parts += more.index_parts;
    total.index_parts_whole += more.index_parts_whole;
    total.index_parts_counted += more.index_parts_counted;
    total.index_rows += more.index_rows;
    total.index_filters += more.index_filters;
    total.object_gets += more.object_gets;
    total.cache_hits += more.cache_hits;
    total.hot_rows += more.hot_rows;
    total.memory_peak_bytes = std::max(total.memory_peak_bytes, more.memory_peak_bytes);
}

Result<SqlQuery> parse_search_page(const JsonObject& body, ApiCall& call, ApiServices& services) {
    MS_TRY(auto page, parse_page(body, call, services));
    auto query = std::move(page.request.query);
    query.statement = newest_first_statement(page.request.target, page.after, page.limit);
    // Sent as it is made: the bound of answers that are made whole is not for it.
    auto limits = query.limits.value_or(SqlLimits{});
    limits.bytes_max = services.config().query.bytes_max;
    query.limits = limits;
    return query;
}

Result<HttpResponse> run_search_page(const JsonObject& body, ApiCall& call, ApiServices& services) {
    MS_TRY(const auto page, parse_page(body, call, services));
    // One row more says whether there is a next page.
    MS_TRY(auto answer,
           run_search_statement(
               page.request,
               newest_first_statement(page.request.target, page.after, page.limit + 1),
               services));
    auto rows = answer.rows();
    bool more = std::ssize(rows) > page.limit;
    rows.resize(std::min(rows.size(), static_cast<std::size_t>(page.limit)));
    if (answer.partial && !rows.empty()) {
        // Cut by bytes or query.rows_max: a shorter page, the rest is in the next one.
        more = true;
        answer.partial = false;
        answer.warnings.clear();
    }
    std::string out = "{\"columns\":";
    append_json_texts(out, answer.columns);
    out += ",\"column_types\":";
    append_json_texts(out, answer.column_types);
    out += fmt::format(",\"rows\":[{}],", fmt::join(rows, ","));
    append_query_end(out, answer.stats, answer.partial, answer.warnings);
    out += ",\"next_cursor\":";
    if (more) {
        MS_TRY(const auto last, answer.place_of(rows.back()));
        const SearchCursor next{
            .last = last, .start_us = page.range.start_us, .end_us = page.range.end_us};
        append_json_string(out, encode_search_cursor(next, page.request.scope));
    } else {
        out += "null";
    }
    auto response = HttpResponse::json(200, out + "}");
    response.set_header("X-Query-Id", page.request.query.id);
    return response;
}

}  // namespace molesignal
