#include "query/sql/scan_source.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>

#include "query/sql/guard/lower_name.h"
#include "query/sql_text.h"

namespace molesignal {
namespace {

/// A value of one type as the canonical text that a widened string column shows.
std::string literal_text(FieldType type, const std::string& column) {
    switch (type) {
        case FieldType::kFloat64:
            // `1`, not `1.0`.
            return fmt::format("regexp_replace(CAST({} AS VARCHAR), '\\.0$', '')", column);
        case FieldType::kBytes:
            return fmt::format("base64({})", column);
        case FieldType::kString:
        case FieldType::kJson:
            return column;
        default:
            return fmt::format("CAST({} AS VARCHAR)", column);
    }
}

std::string field_expression(const ScanSource& source, const LogicalField& field) {
    const auto column_of = [&source](const FieldVariant& variant) {
        const auto at = std::ranges::find(source.schema.variants, variant.id, &FieldVariant::id);
        return quote_identifier(
            source.column_names[ScanSource::kOwnColumns +
                                static_cast<std::size_t>(at - source.schema.variants.begin())]);
    };
    if (field.variants.size() == 1) {
        return column_of(field.variants.front());
    }
    std::string arguments;
    for (const auto& variant : field.variants) {
        const auto column = column_of(variant);
        arguments += fmt::format("{}{}",
                                 arguments.empty() ? "" : ", ",
                                 field.type == FieldType::kFloat64
                                     ? fmt::format("CAST({} AS DOUBLE)", column)
                                     : literal_text(variant.type, column));
    }
    return fmt::format("COALESCE({})", arguments);
}

std::string time_bound(std::string_view comparison, std::int64_t micros) {
    return fmt::format(" AND \"_timestamp\" {} make_timestamptz({}::BIGINT)", comparison, micros);
}

/// Values that indexes have counted, and those of the rows that are left.
std::string counting_subquery(const ScanSource& source,
                              std::uint64_t handle,
                              const std::string& scans,
                              const std::string& where) {
    const auto fields = source.schema.logical_fields();
    const auto field = std::ranges::find(fields, source.counting->field, &LogicalField::name);
    if (!source.counting->is_counted || field == fields.end()) {
        return R"(SELECT CAST(NULL AS VARCHAR) AS "value", CAST(0 AS BIGINT) AS "rows" WHERE false)";
    }
    return fmt::format(
        R"(SELECT "value", "rows" FROM (SELECT {} AS "value", CAST(1 AS BIGINT) AS "rows" FROM ({}) )"
        R"(AS scans WHERE true{} UNION ALL SELECT "value", "rows" FROM ms_counts({}::UBIGINT)) AS counts)",
        field_expression(source, *field),
        scans,
        where,
        handle);
}

}  // namespace

std::int32_t parquet_field_id(const ScanSource& source, std::size_t column) {
    constexpr std::array<std::int32_t, ScanSource::kOwnColumns> kOwn = {
        kTimestampFieldId, kTimestampNanosFieldId, kShardFieldId, kPositionFieldId, kExtraFieldId};
    // Fields that only hot rows have count from -1 down: no part has such a column.
    return column < kOwn.size() ? kOwn[column]
                                : source.schema.variants[column - ScanSource::kOwnColumns].id.value;
}

void name_columns(ScanSource& source) {
    source.column_names = {std::string(kTimestampField),
                           std::string(kTimestampNanosField),
                           std::string(kShardField),
                           std::string(kPositionField),
                           std::string(kExtraField)};
    source.column_names.resize(source.columns());
    std::set<std::string> taken;
    const auto fields = source.schema.logical_fields();
    for (const auto& field : fields) {
        taken.insert(lower_name(field.sql_name));
    }
    for (const auto& field : fields) {
        for (const auto& variant : field.variants) {
            auto name = field.sql_name;
            if (field.variants.size() > 1) {
                name = fmt::format("{} ({})", field.sql_name, field_type_name(variant.type));
                while (!taken.insert(lower_name(name)).second) {
                    name += "'";
                }
            }
            const auto at =
                std::ranges::find(source.schema.variants, variant.id, &FieldVariant::id);
            source.column_names[ScanSource::kOwnColumns +
                                static_cast<std::size_t>(at - source.schema.variants.begin())] =
                std::move(name);
        }
    }
}

std::string stream_subquery(const ScanSource& source, std::uint64_t handle) {
    std::string columns = "\"_timestamp\"";
    for (const auto& field : source.schema.logical_fields()) {
        columns += fmt::format(
            ", {} AS {}", field_expression(source, field), quote_identifier(field.sql_name));
    }
    columns +=
        ", \"_extra\", \"_timestamp_nanos\", \"_shard\", \"_position\", "
        "CAST(\"_shard\" AS VARCHAR) || '-' || CAST(\"_position\" AS VARCHAR) AS \"_event_id\"";
    std::string scans;
    if (!source.parts.empty()) {
        scans = fmt::format("FROM ms_parts({}::UBIGINT)", handle);
    }
    if (!source.hot.chunks.empty() || source.parts.empty()) {
        scans +=
            fmt::format("{}FROM ms_hot({}::UBIGINT)", scans.empty() ? "" : " UNION ALL ", handle);
    }
    std::string where;
    if (source.start_us != INT64_MIN) {
        where += time_bound(">=", source.start_us);
    }
    if (source.end_us != INT64_MAX) {
        where += time_bound("<", source.end_us);
    }
    if (source.counting.has_value()) {
        return counting_subquery(source, handle, scans, where);
    }
    return fmt::format("SELECT {} FROM ({}) AS scans WHERE true{}", columns, scans, where);
}

}  // namespace molesignal
