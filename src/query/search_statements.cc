#include "query/search_statements.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "query/sql_text.h"

namespace molesignal {
namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::uint8_t kCursorVersion = 1;
constexpr std::size_t kCursorNumbers = 6;
constexpr std::size_t kCursorBytes = 1 + kCursorNumbers * 8 + 4;

/// Which rows lie behind `place` in the direction of `comparison`, '<' or '>', or are it.
enum class Ends : std::uint8_t { kExcluded = 1, kIncluded = 2 };
std::string beyond_place(const RowPlace& place, char comparison, Ends ends) {
    const auto time = fmt::format("make_timestamptz({}::BIGINT)", place.time_us);
    // The first comparison follows from the others; it is what rules out parts and row groups.
    return fmt::format(
        "_timestamp {0}= {1} AND (_timestamp {0} {1} OR _timestamp_nanos {0} {2} OR "
        "(_timestamp_nanos = {2} AND (_shard {0} {3} OR (_shard = {3} AND _position {0}{5} "
        "{4}))))",
        comparison,
        time,
        place.nanos,
        place.shard,
        place.position,
        ends == Ends::kIncluded ? "=" : "");
}

std::string ordered(std::string_view direction) {
    return fmt::format("ORDER BY _timestamp {0}, _timestamp_nanos {0}, _shard {0}, _position {0}",
                       direction);
}

std::uint32_t checksum(Bytes bytes, std::string_view scope) {
    return crc32c(as_bytes(scope), crc32c(bytes));
}

std::optional<std::uint8_t> hex_digit(char character) {
    if (character >= '0' && character <= '9') {
        return static_cast<std::uint8_t>(character - '0');
    }
    if (character >= 'a' && character <= 'f') {
        return static_cast<std::uint8_t>(character - 'a' + 10);
    }
    return std::nullopt;
}

}  // namespace

Result<RowPlace> parse_event_id(std::string_view text) {
    RowPlace place;
    const auto* const end = text.data() + text.size();
    const auto shard = std::from_chars(text.data(), end, place.shard);
    if (shard.ec == std::errc{} && shard.ptr != end && *shard.ptr == '-') {
        const auto position = std::from_chars(shard.ptr + 1, end, place.position);
        if (position.ec == std::errc{} && position.ptr == end && place.shard >= 0 &&
            place.position >= 0) {
            return place;
        }
    }
    constexpr std::size_t kShownBytesMax = 64;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not an event id; those are two numbers, '3-1024' (_event_id)",
                             text.substr(0, kShownBytesMax)));
}

std::string encode_search_cursor(const SearchCursor& cursor, std::string_view scope) {
    ByteBuffer bytes{std::byte{kCursorVersion}};
    for (const auto number : {cursor.last.time_us,
                              cursor.last.nanos,
                              cursor.last.shard,
                              cursor.last.position,
                              cursor.start_us,
                              cursor.end_us}) {
        append_le(bytes, static_cast<std::uint64_t>(number));
    }
    append_le(bytes, checksum(bytes, scope));
    std::string text;
    for (const auto byte : bytes) {
        text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    }
    return text;
}

Result<SearchCursor> decode_search_cursor(std::string_view text, std::string_view scope) {
    const Error damaged(ErrorCode::kInvalidArgument,
                        "'cursor' is damaged or of another search: pass next_cursor as it came, "
                        "with the same stream, statement and time_range");
    ByteBuffer bytes;
    for (std::size_t i = 0; i + 1 < std::min(text.size(), 2 * kCursorBytes); i += 2) {
        const auto high = hex_digit(text[i]);
        const auto low = hex_digit(text[i + 1]);
        if (!high.has_value() || !low.has_value()) {
            return damaged;
        }
        bytes.push_back(static_cast<std::byte>(*high << 4U | *low));
    }
    if (!bytes.empty() && bytes[0] != std::byte{kCursorVersion}) {
        return Error(ErrorCode::kInvalidArgument,
                     "'cursor' is damaged or of another version; begin with the first page");
    }
    if (text.size() != 2 * kCursorBytes ||
        load_le<std::uint32_t>(bytes, kCursorBytes - 4) !=
            checksum(Bytes(bytes).first(kCursorBytes - 4), scope)) {
        return damaged;
    }
    std::array<std::int64_t, kCursorNumbers> numbers{};
    for (std::size_t i = 0; i < kCursorNumbers; ++i) {
        numbers[i] = static_cast<std::int64_t>(load_le<std::uint64_t>(bytes, 1 + 8 * i));
    }
    const SearchCursor cursor{.last = {.time_us = numbers[0],
                                       .nanos = numbers[1],
                                       .shard = numbers[2],
                                       .position = numbers[3]},
                              .start_us = numbers[4],
                              .end_us = numbers[5]};
    // A checksum is no signature: what somebody made up must not overflow.
    if (cursor.last.time_us >= cursor.end_us || cursor.last.time_us < cursor.start_us) {
        return damaged;
    }
    return cursor;
}

std::string table_of(const SearchTarget& target) {
    return fmt::format("{}.{}", stream_type_name(target.type), quote_identifier(target.stream));
}

std::string newest_first_statement(const SearchTarget& target,
                                   const std::optional<RowPlace>& after,
                                   std::int64_t limit) {
    return fmt::format(
        "SELECT * FROM {} WHERE {}{} {} LIMIT {}",
        table_of(target),
        target.condition,
        after.has_value() ? " AND " + beyond_place(*after, '<', Ends::kExcluded) : "",
        ordered("DESC"),
        limit);
}

std::string oldest_first_statement(const SearchTarget& target,
                                   const RowPlace& from,
                                   std::int64_t limit) {
    return fmt::format("SELECT * FROM {} WHERE {} AND {} {} LIMIT {}",
                       table_of(target),
                       target.condition,
                       beyond_place(from, '>', Ends::kIncluded),
                       ordered("ASC"),
                       limit);
}

Result<BucketWidth> parse_bucket_width(std::string_view text) {
    constexpr std::int64_t kCountMax = 100'000;  // That of SQL's histogram.
    std::int64_t count = 0;
    const auto* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, count);
    if (parsed.ec == std::errc{} && parsed.ptr + 1 == end && count >= 1 && count <= kCountMax) {
        for (const auto& [unit, seconds] :
             {std::pair{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}, {'w', 604'800}}) {
            if (*parsed.ptr == unit) {
                return BucketWidth{.text = std::string(text), .micros = count * seconds * kSecond};
            }
        }
    }
    constexpr std::size_t kShownBytesMax = 64;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'interval' is '{}'; write a number from 1 to {} and s, m, h, d or w, "
                             "such as '5m'",
                             text.substr(0, kShownBytesMax),
                             kCountMax));
}

BucketWidth choose_bucket_width(std::int64_t range_us) {
    constexpr std::int64_t kBucketsWanted = 120;
    static constexpr std::array<std::string_view, 24> kWidths = {
        "1s", "2s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m",
        "1h", "2h", "3h", "6h",  "12h", "1d",  "2d", "1w", "4w", "13w", "52w", "520w"};
    BucketWidth width;
    for (const auto text : kWidths) {
        width = parse_bucket_width(text).value();
        if (range_us / width.micros < kBucketsWanted) {
            break;
        }
    }
    return width;
}

}  // namespace molesignal
