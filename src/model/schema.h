#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "model/field_type.h"
#include "model/ids.h"

namespace molesignal {

enum class StreamType : std::uint8_t { kLogs = 1, kMetrics = 2, kTraces = 3 };
std::string_view stream_type_name(StreamType type);
Result<StreamType> parse_stream_type(std::string_view name);

/// One (field, type) of a stream.
struct FieldVariant {
    FieldId id;
    std::string name;  ///< As the sender wrote it; several variants share a name.
    FieldType type = FieldType::kString;
    bool inexact_as_float = false;
    friend bool operator==(const FieldVariant&, const FieldVariant&) = default;
};

/// A field as SQL sees it: one column, made of one or more variants.
struct LogicalField {
    std::string name;      ///< The sender's name.
    std::string sql_name;  ///< As `name`, but unique ignoring case: the later one gets `name__2`.
    FieldType type = FieldType::kString;
    std::vector<FieldVariant> variants;
};

/// The variants of a stream, in the order of their ids. Immutable value.
struct StreamSchema {
    std::vector<FieldVariant> variants;

    const FieldVariant* find(std::string_view name, FieldType type) const;
    /// The columns that SQL sees, in order of first appearance.
    std::vector<LogicalField> logical_fields() const;
};

/// Columns of ours that every row has; user fields with these names go to `_extra`.
/// `_timestamp`, `_timestamp_nanos`, `_shard`, `_position`, `_event_id`, `_extra`.
bool is_reserved_field(std::string_view name);

inline constexpr std::string_view kTimestampField = "_timestamp";
inline constexpr std::string_view kTimestampNanosField = "_timestamp_nanos";
inline constexpr std::string_view kShardField = "_shard";
inline constexpr std::string_view kPositionField = "_position";
inline constexpr std::string_view kEventIdField = "_event_id";
inline constexpr std::string_view kExtraField = "_extra";

/// Parquet field ids of our own columns; user fields count from 1, ours sit far above.
inline constexpr std::int32_t kTimestampFieldId = 1'000'000'001;
inline constexpr std::int32_t kTimestampNanosFieldId = 1'000'000'002;
inline constexpr std::int32_t kShardFieldId = 1'000'000'003;
inline constexpr std::int32_t kPositionFieldId = 1'000'000'004;
inline constexpr std::int32_t kExtraFieldId = 1'000'000'005;

/// kInvalidArgument unless `name` is `[A-Za-z0-9_.-]{1,255}`.
Result<> check_stream_name(std::string_view name);

}  // namespace molesignal
