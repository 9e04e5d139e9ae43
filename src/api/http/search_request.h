#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/http/query_request.h"
#include "query/search_schema.h"
#include "query/search_statements.h"

namespace molesignal {

/// Limits of an answer that is made whole before it is sent; docs/search.md.
inline constexpr std::int64_t kSearchPageRowsDefault = 100;
inline constexpr std::int64_t kSearchPageRowsMax = 10'000;
inline constexpr std::int64_t kSearchAnswerBytesMax = 16LL << 20;

/// A request in the search language: `stream`, `statement`, and what all queries have.
struct SearchRequest {
    SearchSchema schema;
    SearchTarget target;
    std::string scope;  ///< Of its cursors.
    SqlQuery query;     ///< Without a statement.
    RequestContext
        context;  ///< Ends with the request's time limit, however many statements it takes.
};

/// kInvalidArgument: no stream, a wrong statement; kNotFound: there is no such stream.
Result<SearchRequest> parse_search_request(const JsonObject& body,
                                           ApiCall& call,
                                           ApiServices& services);

/// The whole answer to a statement.
struct AnswerRows {
    std::vector<std::string> columns;
    std::vector<std::string> column_types;
    std::string text;  ///< JSON arrays, comma-separated.
    SqlStats stats;
    bool partial = false;
    std::vector<std::string> warnings;

    /// The arrays one by one; views into `text`.
    std::vector<std::string_view> rows() const;
    /// The place of the row, whose columns are those of `SELECT *`.
    Result<RowPlace> place_of(std::string_view row) const;
};

/// Runs a statement with the request's limits, of which the answer's bytes are the smaller of
/// query.bytes_max and kSearchAnswerBytesMax.
Result<AnswerRows> run_search_statement(const SearchRequest& request,
                                        std::string statement,
                                        ApiServices& services);

/// Adds the figures of one more statement to those of a request.
void add_stats(SqlStats& total, const SqlStats& more);

/// A page as a statement, for answers without a cursor behind them.
Result<SqlQuery> parse_search_page(const JsonObject& body, ApiCall& call, ApiServices& services);

/// Answers `POST /api/v1/query` in the search language as JSON, with `next_cursor`.
Result<HttpResponse> run_search_page(const JsonObject& body, ApiCall& call, ApiServices& services);

}  // namespace molesignal
