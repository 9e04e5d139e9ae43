#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "model/schema.h"

namespace molesignal {

/// The place of a row in the order of a search: by time with nanoseconds, then by event id. No two
/// rows of a stream share one, and it never changes.
struct RowPlace {
    std::int64_t time_us = 0;
    std::int64_t nanos = 0;  ///< 0–999, behind time_us.
    std::int64_t shard = 0;
    std::int64_t position = 0;
    friend bool operator==(const RowPlace&, const RowPlace&) = default;
};

/// The shard and position of an event id, "3-1024". kInvalidArgument.
Result<RowPlace> parse_event_id(std::string_view text);

/// Where the next page of a search begins: behind `last`, in the first page's range of time.
struct SearchCursor {
    RowPlace last;
    std::int64_t start_us = INT64_MIN;
    std::int64_t end_us = INT64_MAX;
    friend bool operator==(const SearchCursor&, const SearchCursor&) = default;
};

/// `scope` is everything that the pages of one search have in common; a cursor fits no other.
std::string encode_search_cursor(const SearchCursor& cursor, std::string_view scope);
/// kInvalidArgument: damaged, of another search, or of another version.
Result<SearchCursor> decode_search_cursor(std::string_view text, std::string_view scope);

/// What a statement of a search asks: a stream and a condition from search_condition.
struct SearchTarget {
    StreamType type = StreamType::kLogs;
    std::string stream;
    std::string condition;
};

/// `logs."app"`
std::string table_of(const SearchTarget& target);
/// Rows newest first, those behind `after` if there is one.
std::string newest_first_statement(const SearchTarget& target,
                                   const std::optional<RowPlace>& after,
                                   std::int64_t limit);
/// Rows oldest first from `from` on, itself included.
std::string oldest_first_statement(const SearchTarget& target,
                                   const RowPlace& from,
                                   std::int64_t limit);

/// A width of buckets as SQL's `histogram` takes it ("5m"), and its length.
struct BucketWidth {
    std::string text;
    std::int64_t micros = 0;
};
/// kInvalidArgument unless it is a number and s, m, h, d or w.
Result<BucketWidth> parse_bucket_width(std::string_view text);
/// The smallest round width that cuts a range of `range_us` into at most 120 buckets.
BucketWidth choose_bucket_width(std::int64_t range_us);

}  // namespace molesignal
