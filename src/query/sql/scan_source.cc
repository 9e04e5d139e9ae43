#include "query/sql/scan_source.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

struct OwnColumn {
    std::string_view name;
    std::string_view type;
    std::int32_t field_id;
};

constexpr OwnColumn kOwn[ScanSource::kOwnColumns] = {
    {kTimestampField, "TIMESTAMP WITH TIME ZONE", kTimestampFieldId},
    {kTimestampNanosField, "SMALLINT", kTimestampNanosFieldId},
    {kShardField, "BIGINT", kShardFieldId},
    {kPositionField, "BIGINT", kPositionFieldId},
    {kExtraField, "VARCHAR", kExtraFieldId},
};

std::string column_list(const ScanSource& source) {
    std::string list;
    for (const auto& column : kOwn) {
        list += fmt::format("{}{}", list.empty() ? "" : ", ", quote_identifier(column.name));
    }
    for (std::size_t i = 0; i < source.schema.variants.size(); ++i) {
        list += fmt::format(", v{}", i);
    }
    return list;
}

/// The scan of the parts by DuckDB's own reader, columns found by their field ids.
std::string parts_scan(const ScanSource& source) {
    std::string files;
    for (const auto& part : source.parts) {
        for (const auto& object : part.objects) {
            if (object.kind == "parquet") {
                files += fmt::format(
                    "{}{}", files.empty() ? "" : ", ", quote_text("ms://" + object.key));
            }
        }
    }
    std::string schema;
    for (const auto& column : kOwn) {
        schema += fmt::format("{}{}: {{'name': '{}', 'type': '{}', 'default_value': NULL}}",
                              schema.empty() ? "" : ", ",
                              column.field_id,
                              column.name,
                              column.type);
    }
    for (std::size_t i = 0; i < source.schema.variants.size(); ++i) {
        const auto& variant = source.schema.variants[i];
        if (variant.id.value > 0) {
            schema += fmt::format(", {}: {{'name': 'v{}', 'type': '{}', 'default_value': NULL}}",
                                  variant.id.value,
                                  i,
                                  sql_type_of(variant.type));
        }
    }
    std::string columns;
    for (const auto& column : kOwn) {
        columns += fmt::format("{}{}", columns.empty() ? "" : ", ", quote_identifier(column.name));
    }
    for (std::size_t i = 0; i < source.schema.variants.size(); ++i) {
        const auto& variant = source.schema.variants[i];
        // A field that only hot rows have is no column of any part.
        columns += variant.id.value > 0
                       ? fmt::format(", v{}", i)
                       : fmt::format(", NULL::{} AS v{}", sql_type_of(variant.type), i);
    }
    return fmt::format(
        "SELECT {} FROM read_parquet([{}], schema = MAP {{{}}})", columns, files, schema);
}

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
        return fmt::format("v{}", at - source.schema.variants.begin());
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

}  // namespace

std::string sql_type_of(FieldType type) {
    switch (type) {
        case FieldType::kBool:
            return "BOOLEAN";
        case FieldType::kInt64:
            return "BIGINT";
        case FieldType::kUint64:
            return "UBIGINT";
        case FieldType::kFloat64:
            return "DOUBLE";
        case FieldType::kTimestamp:
            return "TIMESTAMP WITH TIME ZONE";
        case FieldType::kBytes:
            return "BLOB";
        case FieldType::kString:
        case FieldType::kJson:
            return "VARCHAR";
    }
    return "VARCHAR";
}

std::string quote_identifier(std::string_view text) {
    std::string out = "\"";
    for (const char character : text) {
        out += character == '"' ? "\"\"" : std::string(1, character);
    }
    return out + "\"";
}

std::string quote_text(std::string_view text) {
    std::string out = "'";
    for (const char character : text) {
        out += character == '\'' ? "''" : std::string(1, character);
    }
    return out + "'";
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
    auto scans = fmt::format("SELECT {} FROM ms_hot({}::UBIGINT)", column_list(source), handle);
    if (!source.parts.empty()) {
        scans = fmt::format("{} UNION ALL {}", parts_scan(source), scans);
    }
    std::string where;
    if (source.start_us != INT64_MIN) {
        where += time_bound(">=", source.start_us);
    }
    if (source.end_us != INT64_MAX) {
        where += time_bound("<", source.end_us);
    }
    return fmt::format("SELECT {} FROM ({}) AS scans WHERE true{}", columns, scans, where);
}

}  // namespace molesignal
