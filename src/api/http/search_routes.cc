// What a search page asks beside its rows: histogram, rows around an event, facets.
#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>

#include "api/http/http_api.h"
#include "api/http/search_request.h"
#include "query/search_condition.h"
#include "query/sql_text.h"

namespace molesignal {
namespace {

constexpr std::int64_t kBucketsMax = 2'000;
constexpr std::size_t kBucketValuesMax = 50;
constexpr std::int64_t kAroundRowsDefault = 50;
constexpr std::int64_t kAroundRowsMax = 1'000;
constexpr std::int64_t kAroundWindowUs = 24LL * 3600 * 1'000'000;
constexpr std::size_t kFacetFieldsMax = 20;
constexpr std::int64_t kFacetValuesDefault = 10;
constexpr std::int64_t kFacetValuesMax = 100;
constexpr std::int64_t kFacetDistinctMax = 100'000;

/// An optional number within bounds.
Result<std::int64_t> bounded(const JsonObject& body,
                             std::string_view name,
                             std::int64_t otherwise,
                             std::int64_t most) {
    MS_TRY(const auto value, body.integer(name));
    if (value.has_value() && (*value < 0 || *value > most)) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'{}' is {}, allowed are 0 to {}", name, *value, most));
    }
    return value.value_or(otherwise);
}

/// The rows of an answer as JSON values.
class ParsedRows {
public:
    static Result<ParsedRows> parse(const AnswerRows& answer) {
        ParsedRows parsed;
        if (parsed.parser_->parse("[" + answer.text + "]").get(parsed.rows_) != simdjson::SUCCESS) {
            return Error(ErrorCode::kInternal, "an answer that is not JSON");
        }
        return parsed;
    }
    const simdjson::dom::array& rows() const { return rows_; }

    /// A row's value as JSON.
    static std::string json(simdjson::dom::element row, std::size_t column) {
        simdjson::dom::element value;
        return row.at(column).get(value) == simdjson::SUCCESS ? simdjson::minify(value) : "null";
    }
    /// 0 for NULL.
    static std::int64_t number(simdjson::dom::element row, std::size_t column) {
        std::int64_t value = 0;
        return row.at(column).get(value) == simdjson::SUCCESS ? value : 0;
    }

private:
    // Behind a pointer: it owns what the rows point at.
    std::unique_ptr<simdjson::dom::parser> parser_ = std::make_unique<simdjson::dom::parser>();
    simdjson::dom::array rows_;
};

Error cut(std::string_view what) {
    return {ErrorCode::kLimitReached,
            fmt::format("{} has more groups than query.rows_max or {} bytes hold; ask for less",
                        what,
                        kSearchAnswerBytesMax)};
}

HttpResponse answer_of(const SearchRequest& request, std::string body) {
    auto response = HttpResponse::json(200, std::move(body));
    response.set_header("X-Query-Id", request.query.id);
    return response;
}

// --- histogram ---

/// Where the request leaves an end of its range open: the first or behind the last row there.
Result<> close_range(SearchRequest& request, ApiServices& services, SqlStats& stats) {
    auto& range = request.query.time_range;
    if (range.start_us != INT64_MIN && range.end_us != INT64_MAX) {
        return {};
    }
    MS_TRY(const auto answer,
           run_search_statement(
               request,
               fmt::format("SELECT epoch_us(min(_timestamp)), epoch_us(max(_timestamp)), count(*) "
                           "FROM {}",
                           table_of(request.target)),
               services));
    add_stats(stats, answer.stats);
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    for (const auto row : parsed.rows()) {
        const bool empty = ParsedRows::number(row, 2) == 0;
        if (range.start_us == INT64_MIN) {
            range.start_us = empty ? range.end_us - 1 : ParsedRows::number(row, 0);
        }
        if (range.end_us == INT64_MAX) {
            range.end_us = (empty ? range.start_us : ParsedRows::number(row, 1)) + 1;
        }
    }
    return {};
}

Result<BucketWidth> width_of(const JsonObject& body, const SqlTimeRange& range) {
    // As a real number: the difference of two times may not fit.
    const auto range_us = static_cast<double>(range.end_us) - static_cast<double>(range.start_us);
    MS_TRY(const auto text, body.text("interval"));
    BucketWidth width;
    if (text.has_value()) {
        MS_TRY(width, parse_bucket_width(*text));
    } else {
        width = choose_bucket_width(range_us < 9e18 ? range.end_us - range.start_us : INT64_MAX);
    }
    if (range_us / static_cast<double>(width.micros) > static_cast<double>(kBucketsMax)) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'interval' {} cuts the range into {:.0f} buckets, the most is {}",
                                 width.text,
                                 range_us / static_cast<double>(width.micros),
                                 kBucketsMax));
    }
    return width;
}

/// The field whose values the buckets are split by; nothing: none.
Result<std::optional<SearchField>> split_field(const JsonObject& body, const SearchSchema& schema) {
    MS_TRY(const auto by, body.text("by"));
    if (by.has_value()) {
        if (by->empty()) {
            return std::optional<SearchField>();
        }
        auto field = schema.find(*by);
        if (!field) {
            return std::move(field).error().wrap("'by'");
        }
        return std::optional(std::move(*field));
    }
    for (const auto* name : {"severity_text", "level"}) {
        if (const auto* field = schema.find_exactly(name)) {
            return std::optional(*field);
        }
    }
    return std::optional<SearchField>();
}

/// Appends the buckets of rows (bucket, value, count) that come in this order.
Result<> append_buckets(std::string& out, const ParsedRows& parsed, bool split) {
    std::set<std::string> values;
    std::string inside;
    std::int64_t start = 0;
    std::int64_t count = 0;
    std::int64_t total = 0;
    out += "\"buckets\":[";
    bool first = true;
    const auto end_bucket = [&] {
        if (count == 0) {
            return;
        }
        out += fmt::format(R"({}{{"start":{},"count":{})", first ? "" : ",", start, count);
        out += split ? fmt::format(R"(,"values":[{}])", inside) : "";
        out += "}";
        first = false;
        total += count;
        count = 0;
        inside.clear();
    };
    for (const auto row : parsed.rows()) {
        const auto bucket = ParsedRows::number(row, 0);
        if (bucket != start) {
            end_bucket();
        }
        start = bucket;
        const auto rows = ParsedRows::number(row, 2);
        count += rows;
        const std::string value = ParsedRows::json(row, 1);
        values.insert(value);
        inside +=
            fmt::format(R"({}{{"value":{},"count":{}}})", inside.empty() ? "" : ",", value, rows);
    }
    end_bucket();
    if (values.size() > kBucketValuesMax) {
        return Error(ErrorCode::kLimitReached,
                     fmt::format("'by' has {} values in this range, the most is {}; \"by\": \"\" "
                                 "does not split",
                                 values.size(),
                                 kBucketValuesMax));
    }
    out += fmt::format("],\"total\":{},", total);
    return {};
}

Result<HttpResponse> run_histogram(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kQueryBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"language",
                                 "statement",
                                 "stream",
                                 "time_range",
                                 "interval",
                                 "by",
                                 "timeout_ms",
                                 "query_id"}));
    MS_TRY(auto request, parse_search_request(body, call, services));
    MS_TRY(const auto by, split_field(body, request.schema));
    SqlStats stats;
    MS_TRY_VOID(close_range(request, services, stats));
    MS_TRY(const auto width, width_of(body, request.query.time_range));
    MS_TRY(const auto answer,
           run_search_statement(
               request,
               fmt::format("SELECT epoch_us(histogram(_timestamp, {})), {}, count(*) FROM {} WHERE "
                           "{} GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
                           quote_sql_text(width.text),
                           by.has_value() ? field_as_text(*by) : "NULL",
                           table_of(request.target),
                           request.target.condition),
               services));
    if (answer.partial) {
        return cut("the histogram");
    }
    add_stats(stats, answer.stats);
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    auto out = fmt::format(R"({{"start":{},"end":{},"interval":"{}","interval_us":{},"by":)",
                           request.query.time_range.start_us,
                           request.query.time_range.end_us,
                           width.text,
                           width.micros);
    if (by.has_value()) {
        append_json_string(out, by->name);
    } else {
        out += "null";
    }
    out += ",";
    MS_TRY_VOID(append_buckets(out, parsed, by.has_value()));
    append_query_end(out, stats, false, answer.warnings);
    return answer_of(request, out + "}");
}

// --- search_around ---

/// The row or the moment that an answer is about.
struct Anchor {
    RowPlace place;
    std::optional<std::string> row_condition;  ///< Nothing: a moment.
};

Result<Anchor> find_anchor(const JsonObject& body,
                           const SearchRequest& request,
                           ApiServices& services,
                           SqlStats& stats) {
    MS_TRY(const auto id, body.text("event_id"));
    MS_TRY(const auto time, body.time("event_timestamp_us", services.clock.now()));
    constexpr std::int64_t kTimeMax = INT64_MAX / 4;
    if (time.has_value() && (*time > kTimeMax || *time < -kTimeMax)) {
        return Error(ErrorCode::kInvalidArgument, "'event_timestamp_us' is beyond all times");
    }
    if (!id.has_value()) {
        if (!time.has_value()) {
            return Error(ErrorCode::kInvalidArgument,
                         "'event_id' is missing; or say a moment by 'event_timestamp_us'");
        }
        return Anchor{.place = {.time_us = *time}, .row_condition = {}};
    }
    Anchor anchor;
    MS_TRY(anchor.place, parse_event_id(*id));
    anchor.row_condition =
        fmt::format("_shard = {} AND _position = {}", anchor.place.shard, anchor.place.position);
    auto narrow = request;
    if (time.has_value()) {
        narrow.query.time_range = {.start_us = *time, .end_us = *time + 1};
    }
    MS_TRY(const auto answer,
           run_search_statement(
               narrow,
               fmt::format("SELECT epoch_us(_timestamp), _timestamp_nanos FROM {} WHERE {}",
                           table_of(request.target),
                           *anchor.row_condition),
               services));
    add_stats(stats, answer.stats);
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    for (const auto row : parsed.rows()) {
        anchor.place.time_us = ParsedRows::number(row, 0);
        anchor.place.nanos = ParsedRows::number(row, 1);
        return anchor;
    }
    return Error(ErrorCode::kNotFound,
                 fmt::format("no row of the stream has the event id '{}'{}",
                             *id,
                             time.has_value() ? " at this time" : ""));
}

struct RowsAround {
    AnswerRows before;  ///< Newest first.
    AnswerRows after;   ///< Oldest first, with the anchor.
};

/// Both sides, read one after the other; again if a new field came in between.
Result<RowsAround> read_around(SearchRequest& request,
                               const Anchor& anchor,
                               std::int64_t before,
                               std::int64_t after,
                               ApiServices& services) {
    request.query.time_range = {.start_us = anchor.place.time_us - kAroundWindowUs,
                                .end_us = anchor.place.time_us + kAroundWindowUs};
    auto after_target = request.target;
    if (anchor.row_condition.has_value()) {
        after_target.condition =
            fmt::format("({} OR ({}))", request.target.condition, *anchor.row_condition);
        ++after;
    }
    constexpr int kAttempts = 3;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        RowsAround around;
        MS_TRY(
            around.before,
            run_search_statement(
                request, newest_first_statement(request.target, anchor.place, before), services));
        MS_TRY(around.after,
               run_search_statement(
                   request, oldest_first_statement(after_target, anchor.place, after), services));
        if (around.before.columns == around.after.columns &&
            around.before.column_types == around.after.column_types) {
            return around;
        }
    }
    return Error(ErrorCode::kUnavailable, "the stream's fields change all the time; ask again");
}

Result<HttpResponse> run_search_around(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kQueryBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"language",
                                 "statement",
                                 "stream",
                                 "event_id",
                                 "event_timestamp_us",
                                 "before",
                                 "after",
                                 "timeout_ms",
                                 "query_id"}));
    MS_TRY(const auto before, bounded(body, "before", kAroundRowsDefault, kAroundRowsMax));
    MS_TRY(const auto after, bounded(body, "after", kAroundRowsDefault, kAroundRowsMax));
    MS_TRY(auto request, parse_search_request(body, call, services));
    SqlStats stats;
    MS_TRY(const auto anchor, find_anchor(body, request, services, stats));
    MS_TRY(const auto around, read_around(request, anchor, before, after, services));
    auto rows = around.before.rows();
    std::ranges::reverse(rows);
    const auto index = rows.size();
    std::ranges::copy(around.after.rows(), std::back_inserter(rows));
    std::string out = "{\"columns\":";
    append_json_texts(out, around.after.columns);
    out += ",\"column_types\":";
    append_json_texts(out, around.after.column_types);
    out += fmt::format(R"(,"rows":[{}],"anchor":{},)",
                       fmt::join(rows, ","),
                       index < rows.size() ? std::to_string(index) : "null");
    add_stats(stats, around.before.stats);
    add_stats(stats, around.after.stats);
    auto warnings = around.before.warnings;
    std::ranges::copy(around.after.warnings, std::back_inserter(warnings));
    append_query_end(out, stats, around.before.partial || around.after.partial, warnings);
    return answer_of(request, out + "}");
}

// --- facets ---

/// The fields asked for, else the first ones that are no full text.
Result<std::vector<SearchField>> facet_fields(const JsonObject& body, const SearchSchema& schema) {
    MS_TRY(const auto names, body.texts("fields"));
    std::vector<SearchField> fields;
    if (names.has_value()) {
        if (names->size() > kFacetFieldsMax) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format(
                    "'fields' names {} fields, the most is {}", names->size(), kFacetFieldsMax));
        }
        for (const auto& name : *names) {
            auto field = schema.find(name);
            if (!field) {
                return std::move(field).error().wrap("'fields'");
            }
            fields.push_back(std::move(*field));
        }
        return fields;
    }
    for (const auto& field : schema.fields()) {
        if (!field.own && !field.full_text && fields.size() < kFacetFieldsMax) {
            fields.push_back(field);
        }
    }
    return fields;
}

/// What is known of a field.
struct Facet {
    std::int64_t rows = 0;  ///< With a value.
    std::int64_t distinct = 0;
    std::int64_t all_rows = 0;
    std::string top = "null";  ///< A JSON array.
};

/// The rows (value, count, …) as a JSON array of at most `top` values, without NULL.
std::string top_values(const ParsedRows& parsed, std::int64_t top) {
    std::string out = "[";
    for (const auto row : parsed.rows()) {
        auto value = ParsedRows::json(row, 0);
        if (value != "null" && top-- > 0) {
            out += fmt::format(R"({}{{"value":{},"count":{}}})",
                               out.size() == 1 ? "" : ",",
                               value,
                               ParsedRows::number(row, 1));
        }
    }
    return out + "]";
}

/// A field as the indexes have counted its values, if it is a text, all rows are asked for, and
/// they have. Exact.
Result<std::optional<Facet>> counted_facet(const SearchRequest& request,
                                           const SearchField& field,
                                           std::int64_t top,
                                           ApiServices& services,
                                           SqlStats& stats) {
    if (request.target.condition != "true" || field.type != FieldType::kString || field.own) {
        return std::optional<Facet>();
    }
    auto counting = request;
    counting.query.counted_field = field.name;
    MS_TRY(
        const auto answer,
        run_search_statement(
            counting,
            fmt::format(
                "SELECT value, CAST(sum(rows) AS BIGINT), CAST(sum(sum(rows)) OVER () AS BIGINT), "
                "CAST(sum(CASE WHEN value IS NULL THEN 0 ELSE sum(rows) END) OVER () AS BIGINT), "
                "count(value) OVER () FROM {} GROUP BY 1 ORDER BY value IS NULL, 2 DESC, 1 "
                "LIMIT {}",
                table_of(request.target),
                top + 1),
            services));
    add_stats(stats, answer.stats);
    if (!answer.stats.values_counted || answer.partial) {
        return std::optional<Facet>();
    }
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    Facet facet;
    for (const auto row : parsed.rows()) {
        facet.all_rows = ParsedRows::number(row, 2);
        facet.rows = ParsedRows::number(row, 3);
        facet.distinct = ParsedRows::number(row, 4);
    }
    if (facet.distinct <= kFacetDistinctMax) {
        facet.top = top_values(parsed, top);
    }
    return std::optional(std::move(facet));
}

/// A JSON array of a field's most frequent values.
Result<std::string> read_top_values(const SearchRequest& request,
                                    const SearchField& field,
                                    std::int64_t top,
                                    ApiServices& services,
                                    SqlStats& stats) {
    const auto column = quote_identifier(field.column);
    MS_TRY(const auto answer,
           run_search_statement(request,
                                fmt::format("SELECT {0}, count(*) FROM {1} WHERE {2} AND {0} IS "
                                            "NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {3}",
                                            column,
                                            table_of(request.target),
                                            request.target.condition,
                                            top),
                                services));
    if (answer.partial) {
        return cut(fmt::format("the field '{}'", field.name));
    }
    add_stats(stats, answer.stats);
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    return top_values(parsed, top);
}

/// Counts the fields that have no facet yet by reading them; all rows are those of the last facet.
Result<> read_facets(const SearchRequest& request,
                     const std::vector<SearchField>& fields,
                     std::int64_t top,
                     ApiServices& services,
                     std::vector<std::optional<Facet>>& facets,
                     SqlStats& stats) {
    std::string counts = "count(*)";
    for (std::size_t i = 0; i < fields.size(); ++i) {
        counts += facets[i].has_value() ? ""
                                        : fmt::format(", count({0}), approx_count_distinct({0})",
                                                      quote_identifier(fields[i].column));
    }
    MS_TRY(const auto answer,
           run_search_statement(request,
                                fmt::format("SELECT {} FROM {} WHERE {}",
                                            counts,
                                            table_of(request.target),
                                            request.target.condition),
                                services));
    add_stats(stats, answer.stats);
    MS_TRY(const auto parsed, ParsedRows::parse(answer));
    simdjson::dom::element row;
    if (parsed.rows().at(0).get(row) != simdjson::SUCCESS) {
        return Error(ErrorCode::kInternal, "counts without a row");
    }
    std::size_t column = 1;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (facets[i].has_value()) {
            continue;
        }
        auto& facet = facets[i].emplace();
        facet.rows = ParsedRows::number(row, column++);
        facet.distinct = ParsedRows::number(row, column++);
        // Of ids no value is more frequent than others, and counting them all costs the most.
        if (facet.distinct <= kFacetDistinctMax) {
            MS_TRY(facet.top, read_top_values(request, fields[i], top, services, stats));
        }
    }
    // Also of no fields.
    Facet all;
    all.all_rows = ParsedRows::number(row, 0);
    facets.emplace_back(std::move(all));
    return {};
}

Result<HttpResponse> run_facets(ApiCall& call, ApiServices& services) {
    MS_TRY(const auto body, JsonObject::parse(call.request.body, kQueryBodyBytesMax));
    MS_TRY_VOID(body.allow_only({"language",
                                 "statement",
                                 "stream",
                                 "time_range",
                                 "fields",
                                 "top",
                                 "timeout_ms",
                                 "query_id"}));
    MS_TRY(const auto top, bounded(body, "top", kFacetValuesDefault, kFacetValuesMax));
    MS_TRY(const auto request, parse_search_request(body, call, services));
    MS_TRY(const auto fields, facet_fields(body, request.schema));
    SqlStats stats;
    std::vector<std::optional<Facet>> facets;
    for (const auto& field : fields) {
        MS_TRY(auto facet, counted_facet(request, field, top, services, stats));
        facets.push_back(std::move(facet));
    }
    if (facets.empty() || !std::ranges::all_of(facets, &std::optional<Facet>::has_value)) {
        MS_TRY_VOID(read_facets(request, fields, top, services, facets, stats));
    }
    auto out = fmt::format(R"({{"rows":{},"fields_total":{},"fields":[)",
                           facets.back()->all_rows,
                           std::ranges::count(request.schema.fields(), false, &SearchField::own));
    for (std::size_t i = 0; i < fields.size(); ++i) {
        out += i == 0 ? "{\"name\":" : ",{\"name\":";
        append_json_string(out, fields[i].name);
        out += fmt::format(R"(,"type":"{}","rows":{},"distinct":{},"top":{}}})",
                           field_type_name(fields[i].type),
                           facets[i]->rows,
                           facets[i]->distinct,
                           facets[i]->top);
    }
    out += "],";
    append_query_end(out, stats, false, {});
    return answer_of(request, out + "}");
}

}  // namespace

void add_search_routes(RouteTable& routes, ApiServices& services) {
    const auto add = [&](std::string path, std::string summary, auto handler) {
        Route route;
        route.method = "POST";
        route.path = std::move(path);
        route.permission = Permission::kQuery;
        route.lane = Lane::kQuery;
        route.summary = std::move(summary);
        route.request_type = "application/json";
        route.handler = [handler, &services](ApiCall& call) { return handler(call, services); };
        routes.add(std::move(route));
    };
    add("/api/v1/query/histogram",
        "Counts of a search over time, split by the values of a field",
        run_histogram);
    add("/api/v1/query/search_around",
        "The rows before and after an event of a stream",
        run_search_around);
    add("/api/v1/query/facets", "A search's fields with their most frequent values", run_facets);
}

}  // namespace molesignal
