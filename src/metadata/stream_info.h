#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/ids.h"
#include "model/schema.h"

namespace molesignal {

struct Organization {
    OrgId id;
    std::string slug;
    std::string name;
};

/// Settings of a stream that override the server's.
struct StreamSettings {
    std::optional<std::int32_t> retention_days;
    /// Fields that `match_all` searches; empty: the built-in list.
    std::vector<std::string> full_text_fields;
    /// Pinned types: a value of another type goes to `_extra`.
    std::vector<std::pair<std::string, FieldType>> pinned_types;
    friend bool operator==(const StreamSettings&, const StreamSettings&) = default;
};

struct StreamInfo {
    StreamId id;
    OrgId org;
    std::string name;
    StreamType type = StreamType::kLogs;
    StreamSettings settings;
    std::int64_t created_us = 0;
    /// Counts every change of the stream's parts; parts name the version that added or removed
    /// them.
    std::int64_t version = 0;
};

/// Sums over a stream's live parts.
struct StreamTotals {
    std::int64_t parts = 0;
    std::int64_t rows = 0;
    std::int64_t bytes = 0;
    std::int64_t raw_bytes = 0;
    std::int64_t time_min_us = 0;  ///< 0 if there are no parts.
    std::int64_t time_max_us = 0;
};

struct PartCounts {
    std::int64_t live = 0;
    std::int64_t due = 0;  ///< Of them.
};

}  // namespace molesignal
