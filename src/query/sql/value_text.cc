// DuckDB's values as text: JSON without loss, CSV.
#include "query/sql/value_text.h"

#include <cmath>
#include <vector>

#include <duckdb.hpp>
#include <duckdb/common/types/blob.hpp>
#include <duckdb/common/types/data_chunk.hpp>
#include <duckdb/common/types/timestamp.hpp>
#include <fmt/format.h>

namespace molesignal {
namespace {

using duckdb::LogicalTypeId;

/// "2026-01-02T03:04:05.123456000Z": nine digits, as the product prints every time.
std::string time_text(std::int64_t micros) {
    if (!duckdb::Timestamp::IsFinite(duckdb::timestamp_t(micros))) {
        return micros > 0 ? "infinity" : "-infinity";
    }
    const duckdb::timestamp_t stamp(micros);
    duckdb::date_t date;
    duckdb::dtime_t time;
    duckdb::Timestamp::Convert(stamp, date, time);
    std::int32_t year = 0;
    std::int32_t month = 0;
    std::int32_t day = 0;
    duckdb::Date::Convert(date, year, month, day);
    const auto seconds = time.micros / 1'000'000;
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}000Z",
                       year,
                       month,
                       day,
                       seconds / 3600,
                       seconds / 60 % 60,
                       seconds % 60,
                       time.micros % 1'000'000);
}

void append_real(double value, std::string& out) {
    if (std::isnan(value)) {
        out += "\"NaN\"";
    } else if (std::isinf(value)) {
        out += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    } else {
        fmt::format_to(std::back_inserter(out), "{}", value);
    }
}

void append_json(const duckdb::Value& value, std::string& out);

void append_list(const duckdb::vector<duckdb::Value>& values, std::string& out) {
    out.push_back('[');
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) {
            out.push_back(',');
        }
        append_json(values[i], out);
    }
    out.push_back(']');
}

void append_struct(const duckdb::Value& value, std::string& out) {
    const auto& types = duckdb::StructType::GetChildTypes(value.type());
    const auto& values = duckdb::StructValue::GetChildren(value);
    out.push_back('{');
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) {
            out.push_back(',');
        }
        append_json_literal(types[i].first, out);
        out.push_back(':');
        append_json(values[i], out);
    }
    out.push_back('}');
}

void append_json(const duckdb::Value& value, std::string& out) {
    if (value.IsNull()) {
        out += "null";
        return;
    }
    switch (value.type().id()) {
        case LogicalTypeId::BOOLEAN:
            out += duckdb::BooleanValue::Get(value) ? "true" : "false";
            break;
        case LogicalTypeId::TINYINT:
        case LogicalTypeId::SMALLINT:
        case LogicalTypeId::INTEGER:
        case LogicalTypeId::BIGINT:
        case LogicalTypeId::UTINYINT:
        case LogicalTypeId::USMALLINT:
        case LogicalTypeId::UINTEGER:
        case LogicalTypeId::UBIGINT:
        case LogicalTypeId::HUGEINT:
        case LogicalTypeId::UHUGEINT:
        case LogicalTypeId::DECIMAL:
            // Digits as they are: exact at any length.
            out += value.ToString();
            break;
        case LogicalTypeId::FLOAT:
            append_real(static_cast<double>(duckdb::FloatValue::Get(value)), out);
            break;
        case LogicalTypeId::DOUBLE:
            append_real(duckdb::DoubleValue::Get(value), out);
            break;
        case LogicalTypeId::TIMESTAMP:
            out += "\"" + time_text(duckdb::TimestampValue::Get(value).value) + "\"";
            break;
        case LogicalTypeId::TIMESTAMP_TZ:
            out += "\"" + time_text(value.GetValueUnsafe<duckdb::timestamp_t>().value) + "\"";
            break;
        case LogicalTypeId::BLOB:
            append_json_literal(
                duckdb::Blob::ToBase64(duckdb::string_t(duckdb::StringValue::Get(value))), out);
            break;
        case LogicalTypeId::VARCHAR:
            append_json_literal(duckdb::StringValue::Get(value), out);
            break;
        case LogicalTypeId::LIST:
            append_list(duckdb::ListValue::GetChildren(value), out);
            break;
        case LogicalTypeId::ARRAY:
            append_list(duckdb::ArrayValue::GetChildren(value), out);
            break;
        case LogicalTypeId::STRUCT:
            append_struct(value, out);
            break;
        default:
            append_json_literal(value.ToString(), out);
    }
}

/// The common types straight from the vector; everything else by Value.
void append_cell(duckdb::Vector& vector,
                 const duckdb::UnifiedVectorFormat& format,
                 duckdb::DataChunk& chunk,
                 duckdb::idx_t column,
                 duckdb::idx_t row,
                 std::string& out) {
    const auto index = format.sel->get_index(row);
    if (!format.validity.RowIsValid(index)) {
        out += "null";
        return;
    }
    switch (vector.GetType().id()) {
        case LogicalTypeId::VARCHAR: {
            const auto& text =
                duckdb::UnifiedVectorFormat::GetData<duckdb::string_t>(format)[index];
            append_json_literal({text.GetData(), text.GetSize()}, out);
            break;
        }
        case LogicalTypeId::BIGINT:
            fmt::format_to(std::back_inserter(out),
                           "{}",
                           duckdb::UnifiedVectorFormat::GetData<std::int64_t>(format)[index]);
            break;
        case LogicalTypeId::DOUBLE:
            append_real(duckdb::UnifiedVectorFormat::GetData<double>(format)[index], out);
            break;
        case LogicalTypeId::TIMESTAMP_TZ:
            out += "\"" +
                   time_text(duckdb::UnifiedVectorFormat::GetData<std::int64_t>(format)[index]) +
                   "\"";
            break;
        default:
            append_json(chunk.GetValue(column, row), out);
    }
}

std::vector<duckdb::UnifiedVectorFormat> formats_of(duckdb::DataChunk& chunk) {
    std::vector<duckdb::UnifiedVectorFormat> formats(chunk.ColumnCount());
    for (duckdb::idx_t i = 0; i < chunk.ColumnCount(); ++i) {
        chunk.data[i].ToUnifiedFormat(chunk.size(), formats[i]);
    }
    return formats;
}

/// Bytes of the valid UTF-8 character at `at`, or 0.
std::size_t utf8_bytes(std::string_view text, std::size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t bytes = lead < 0x80                   ? 1
                              : lead >= 0xc2 && lead < 0xe0 ? 2
                              : lead >= 0xe0 && lead < 0xf0 ? 3
                              : lead >= 0xf0 && lead < 0xf5 ? 4
                                                            : 0;
    if (bytes == 0 || at + bytes > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((static_cast<unsigned char>(text[at + i]) & 0xc0U) != 0x80U) {
            return 0;
        }
    }
    return bytes;
}

}  // namespace

void append_json_literal(std::string_view text, std::string& out) {
    out.push_back('"');
    std::size_t plain = 0;
    const auto flush = [&](std::size_t end) { out.append(text.substr(plain, end - plain)); };
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
            ++i;
            continue;
        }
        if (byte >= 0x80) {
            if (const auto bytes = utf8_bytes(text, i); bytes > 0) {
                i += bytes;
                continue;
            }
        }
        flush(i);
        if (byte == '"' || byte == '\\') {
            out.push_back('\\');
            out.push_back(text[i]);
        } else if (byte == '\n') {
            out += "\\n";
        } else if (byte < 0x20) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        } else {
            out += "\xef\xbf\xbd";
        }
        plain = ++i;
    }
    flush(text.size());
    out.push_back('"');
}

void append_json_rows(duckdb::DataChunk& chunk, bool first, std::string& out) {
    const auto formats = formats_of(chunk);
    for (duckdb::idx_t row = 0; row < chunk.size(); ++row) {
        out += first ? "[" : ",[";
        first = false;
        for (duckdb::idx_t column = 0; column < chunk.ColumnCount(); ++column) {
            if (column > 0) {
                out.push_back(',');
            }
            append_cell(chunk.data[column], formats[column], chunk, column, row, out);
        }
        out.push_back(']');
    }
}

void append_ndjson_rows(duckdb::DataChunk& chunk,
                        const std::vector<std::string>& names,
                        std::string& out) {
    const auto formats = formats_of(chunk);
    for (duckdb::idx_t row = 0; row < chunk.size(); ++row) {
        for (duckdb::idx_t column = 0; column < chunk.ColumnCount(); ++column) {
            out += column == 0 ? "{" : ",";
            out += names[column];
            out.push_back(':');
            append_cell(chunk.data[column], formats[column], chunk, column, row, out);
        }
        out += "}\n";
    }
}

void append_csv_text(std::string_view text, std::string& out) {
    if (text.find_first_of("\",\r\n") == std::string_view::npos) {
        out += text;
        return;
    }
    out.push_back('"');
    for (const char character : text) {
        if (character == '"') {
            out.push_back('"');
        }
        out.push_back(character);
    }
    out.push_back('"');
}

void append_csv_rows(duckdb::DataChunk& chunk, std::string& out) {
    for (duckdb::idx_t row = 0; row < chunk.size(); ++row) {
        for (duckdb::idx_t column = 0; column < chunk.ColumnCount(); ++column) {
            if (column > 0) {
                out.push_back(',');
            }
            const auto value = chunk.GetValue(column, row);
            if (value.IsNull()) {
                continue;
            }
            switch (value.type().id()) {
                case LogicalTypeId::TIMESTAMP:
                case LogicalTypeId::TIMESTAMP_TZ:
                    out += time_text(value.GetValueUnsafe<duckdb::timestamp_t>().value);
                    break;
                case LogicalTypeId::VARCHAR: {
                    const auto text = duckdb::StringValue::Get(value);
                    // A spreadsheet would run it: a quote in front keeps it text.
                    if (!text.empty() &&
                        std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos) {
                        append_csv_text("'" + text, out);
                    } else {
                        append_csv_text(text, out);
                    }
                    break;
                }
                default: {
                    std::string json;
                    append_json(value, json);
                    if (json.size() >= 2 && json.front() == '"') {
                        json = json.substr(1, json.size() - 2);
                    }
                    append_csv_text(json, out);
                }
            }
        }
        out += "\r\n";
    }
}

}  // namespace molesignal
