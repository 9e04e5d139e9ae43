#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metadata/catalogue.h"
#include "model/schema.h"
#include "storage/cache/object_reader.h"
#include "storage/hot_rows.h"

namespace molesignal {

/// Counters of one query, shared by its scans.
struct ScanCounters {
    std::atomic<std::int64_t> rows{0};  ///< Of the row groups and chunks that were read.
    std::atomic<std::int64_t> bytes{0};
    std::atomic<std::int64_t> gets{0};
    std::atomic<std::int64_t> cache_hits{0};
    std::atomic<std::int64_t> hot_rows{0};
    std::atomic<std::int64_t> parts_total{0};
    std::atomic<std::int64_t> parts_selected{0};
    std::atomic<std::int64_t> row_groups_total{0};  ///< Of the selected parts.
    std::atomic<std::int64_t> row_groups_read{0};
    std::atomic<std::int64_t> index_parts{0};    ///< Whose index was asked.
    std::atomic<std::int64_t> index_rows{0};     ///< That the indexes left of these parts.
    std::atomic<std::int64_t> index_filters{0};  ///< Conditions that the indexes answered alone.
    /// Parts that are read whole, because their index left too many rows.
    std::atomic<std::int64_t> index_parts_whole{0};
    /// That are not read: a scan wanted only what their index has counted.
    std::atomic<std::int64_t> index_parts_counted{0};
    std::atomic<bool> values_counted{false};  ///< SqlStats::values_counted

    void add(const ReadTally& tally) {
        gets += tally.gets;
        bytes += tally.bytes;
        cache_hits += tally.hits;
    }
};

/// Of a query that counts the values of one field of texts: what indexes have counted.
struct FieldCounting {
    std::string field;        ///< The sender's name.
    bool is_counted = false;  ///< Else there is nothing to answer from.
    /// Values with their rows, of the parts that are not among the source's any more. No value:
    /// rows without one.
    std::vector<std::pair<std::optional<std::string>, std::int64_t>> counts;
};

/// One stream as one query sees it: a snapshot, ready to be scanned, once for all mentions of the
/// stream. Immutable while the query runs.
struct ScanSource {
    StreamInfo stream;
    StreamSchema schema;               ///< With the hot rows' fields.
    std::vector<PartInfo> parts;       ///< Those that overlap the query's time range, newest first.
    std::vector<IdPackInfo> id_packs;  ///< That may be of some of them.
    std::int64_t parts_total = 0;      ///< With those that do not overlap it.
    HotSnapshot hot;
    std::int64_t start_us = INT64_MIN;
    std::int64_t end_us = INT64_MAX;

    std::optional<FieldCounting> counting;

    /// Names of both scans' columns, by column (name_columns).
    std::vector<std::string> column_names;

    /// Columns of both scans, in order: the five of ours, then those of schema.variants.
    static constexpr std::size_t kTimestamp = 0;
    static constexpr std::size_t kTimestampNanos = 1;
    static constexpr std::size_t kShard = 2;
    static constexpr std::size_t kPosition = 3;
    static constexpr std::size_t kExtra = 4;
    static constexpr std::size_t kOwnColumns = 5;
    std::size_t columns() const { return kOwnColumns + schema.variants.size(); }
};

/// The number that Parquet files know a column of `source` by.
std::int32_t parquet_field_id(const ScanSource& source, std::size_t column);

/// Fills `column_names`: a field of one type has its SQL name, others have their type's as well.
/// They are unique ignoring case, and shown by EXPLAIN only.
void name_columns(ScanSource& source);

/// The text of the subquery that stands for the stream: both scans, `ms_parts(handle)` and
/// `ms_hot(handle)`, and the stream's columns by their names. Of a source that counts a field: a
/// value and how many rows have it, as often as it comes, in the columns `value` and `rows`.
std::string stream_subquery(const ScanSource& source, std::uint64_t handle);

}  // namespace molesignal
