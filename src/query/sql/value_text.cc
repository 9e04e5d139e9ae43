// DuckDB's values as text: JSON without loss, CSV.
#include "query/sql/value_text.h"

#include <cmath>

#include <duckdb.hpp>
#include <duckdb/common/types/blob.hpp>
#include <duckdb/common/types/data_chunk.hpp>
#include <duckdb/common/types/timestamp.hpp>
#include <fmt/format.h>

namespace molesignal {

using duckdb::LogicalTypeId;

/// A column of the chunk, or of the lists and structs in it.
struct ChunkText::Column {
    Column(duckdb::Vector& values, duckdb::idx_t count) : vector(values), type(values.GetType()) {
        vector.Flatten(count);
        switch (type.id()) {
            case LogicalTypeId::LIST:
                children.emplace_back(duckdb::ListVector::GetEntry(vector),
                                      duckdb::ListVector::GetListSize(vector));
                break;
            case LogicalTypeId::ARRAY:
                children.emplace_back(duckdb::ArrayVector::GetEntry(vector),
                                      count * duckdb::ArrayType::GetSize(type));
                break;
            case LogicalTypeId::STRUCT:
                for (const auto& entry : duckdb::StructVector::GetEntries(vector)) {
                    children.emplace_back(*entry, count);
                }
                break;
            default:
                break;
        }
    }

    template <class Value>
    Value value(std::size_t row) const {
        return duckdb::FlatVector::GetData<Value>(vector)[row];
    }
    bool is_null(std::size_t row) const { return duckdb::FlatVector::IsNull(vector, row); }
    std::string_view text(std::size_t row) const {
        const auto& text = duckdb::FlatVector::GetData<duckdb::string_t>(vector)[row];
        return {text.GetData(), text.GetSize()};
    }

    duckdb::Vector& vector;
    duckdb::LogicalType type;
    std::vector<Column> children;
    const Column* nanos = nullptr;  ///< The last three digits of times.
};

namespace {

/// "2026-01-02T03:04:05.123456789Z": nine digits, as the product prints every time.
std::string time_text(std::int64_t micros, std::int16_t nanos) {
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
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{:03}Z",
                       year,
                       month,
                       day,
                       seconds / 3600,
                       seconds / 60 % 60,
                       seconds % 60,
                       time.micros % 1'000'000,
                       nanos);
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

/// In front of what a spreadsheet would run: a quote keeps it text.
bool looks_like_formula(std::string_view text) {
    return !text.empty() &&
           std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos;
}

bool append_csv_text(std::string_view text, std::string& out, std::size_t bytes_max) {
    if (out.size() + text.size() > bytes_max) {
        return false;
    }
    const std::string_view guard = looks_like_formula(text) ? "'" : "";
    if (text.find_first_of("\",\r\n") == std::string_view::npos) {
        out += guard;
        out += text;
        return true;
    }
    out.push_back('"');
    out += guard;
    for (const char character : text) {
        if (character == '"') {
            out.push_back('"');
        }
        out.push_back(character);
    }
    out.push_back('"');
    return out.size() <= bytes_max;
}

/// Appends values of a column as JSON; false once `out` is longer than `bytes_max`.
template <class Column>
class JsonValues {
public:
    JsonValues(std::string& out, std::size_t bytes_max) : out_(out), bytes_max_(bytes_max) {}

    bool append(const Column& column, std::size_t row) {
        if (column.is_null(row)) {
            out_ += "null";
            return out_.size() <= bytes_max_;
        }
        switch (column.type.id()) {
            case LogicalTypeId::VARCHAR:
                return text(column.text(row));
            case LogicalTypeId::BIGINT:
                fmt::format_to(
                    std::back_inserter(out_), "{}", column.template value<std::int64_t>(row));
                break;
            case LogicalTypeId::DOUBLE:
                append_real(column.template value<double>(row), out_);
                break;
            case LogicalTypeId::FLOAT:
                append_real(static_cast<double>(column.template value<float>(row)), out_);
                break;
            case LogicalTypeId::BOOLEAN:
                out_ += column.template value<bool>(row) ? "true" : "false";
                break;
            case LogicalTypeId::TIMESTAMP:
            case LogicalTypeId::TIMESTAMP_TZ:
                out_ += "\"" + time(column, row) + "\"";
                break;
            case LogicalTypeId::BLOB:
                return text(duckdb::Blob::ToBase64(column.template value<duckdb::string_t>(row)));
            case LogicalTypeId::LIST: {
                const auto entry = column.template value<duckdb::list_entry_t>(row);
                return list(column.children[0], entry.offset, entry.length);
            }
            case LogicalTypeId::ARRAY: {
                const auto size = duckdb::ArrayType::GetSize(column.type);
                return list(column.children[0], row * size, size);
            }
            case LogicalTypeId::STRUCT:
                return object(column, row);
            default:
                return other(column, row);
        }
        return out_.size() <= bytes_max_;
    }

    static std::string time(const Column& column, std::size_t row) {
        const auto nanos = column.nanos == nullptr || column.nanos->is_null(row)
                               ? std::int16_t{0}
                               : column.nanos->template value<std::int16_t>(row);
        return time_text(column.template value<std::int64_t>(row), nanos);
    }

private:
    bool text(std::string_view value) {
        return out_.size() + value.size() <= bytes_max_ &&
               append_json_literal(value, out_, bytes_max_);
    }
    bool list(const Column& values, std::size_t begin, std::size_t count) {
        out_.push_back('[');
        for (std::size_t i = 0; i < count; ++i) {
            if (i > 0) {
                out_.push_back(',');
            }
            if (!append(values, begin + i)) {
                return false;
            }
        }
        out_.push_back(']');
        return out_.size() <= bytes_max_;
    }
    bool object(const Column& column, std::size_t row) {
        const auto& names = duckdb::StructType::GetChildTypes(column.type);
        out_.push_back('{');
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (i > 0) {
                out_.push_back(',');
            }
            append_json_literal(names[i].first, out_);
            out_.push_back(':');
            if (!append(column.children[i], row)) {
                return false;
            }
        }
        out_.push_back('}');
        return out_.size() <= bytes_max_;
    }
    bool other(const Column& column, std::size_t row) {
        const auto value = column.vector.GetValue(row).ToString();
        if (!column.type.IsNumeric()) {
            return text(value);
        }
        out_ += value;  // Digits as they are: exact at any length.
        return out_.size() <= bytes_max_;
    }

    std::string& out_;
    std::size_t bytes_max_;
};

/// Takes the row back if it became too long by its end.
bool keep_if_fits(std::string& out, std::size_t before, std::size_t bytes_max) {
    const bool fits = out.size() <= bytes_max;
    if (!fits) {
        out.resize(before);
    }
    return fits;
}

template <class Column>
std::size_t value_bytes(const Column& column, std::size_t row) {
    constexpr std::size_t kFixed = 16;
    if (column.is_null(row)) {
        return 1;
    }
    std::size_t bytes = kFixed;
    switch (column.type.id()) {
        case LogicalTypeId::VARCHAR:
        case LogicalTypeId::BLOB:
            return bytes + column.text(row).size();
        case LogicalTypeId::LIST: {
            const auto entry = column.template value<duckdb::list_entry_t>(row);
            for (std::size_t i = 0; i < entry.length; ++i) {
                bytes += value_bytes(column.children[0], entry.offset + i);
            }
            return bytes;
        }
        case LogicalTypeId::STRUCT:
            for (const auto& child : column.children) {
                bytes += value_bytes(child, row);
            }
            return bytes;
        default:
            return bytes;
    }
}

}  // namespace

ChunkText::ChunkText(duckdb::DataChunk& chunk, const RowLayout& layout) : layout_(layout) {
    columns_.reserve(chunk.ColumnCount());  // `nanos` points into it.
    for (auto& vector : chunk.data) {
        columns_.emplace_back(vector, chunk.size());
    }
    for (std::size_t i = 0; i < layout.names.size(); ++i) {
        append_json_literal(layout.names[i], names_json_.emplace_back());
        if (layout.nanos[i].has_value()) {
            columns_[i].nanos = &columns_[*layout.nanos[i]];
        }
    }
}

ChunkText::~ChunkText() = default;

bool ChunkText::append_json(std::size_t row, std::string& out, std::size_t bytes_max) const {
    const auto before = out.size();
    out.push_back('[');
    for (std::size_t i = 0; i < layout_.names.size(); ++i) {
        if (i > 0) {
            out.push_back(',');
        }
        if (!JsonValues<Column>(out, bytes_max).append(columns_[i], row)) {
            out.resize(before);
            return false;
        }
    }
    out.push_back(']');
    return keep_if_fits(out, before, bytes_max);
}

bool ChunkText::append_ndjson(std::size_t row, std::string& out, std::size_t bytes_max) const {
    const auto before = out.size();
    for (std::size_t i = 0; i < layout_.names.size(); ++i) {
        out += i == 0 ? "{" : ",";
        out += names_json_[i];
        out.push_back(':');
        if (!JsonValues<Column>(out, bytes_max).append(columns_[i], row)) {
            out.resize(before);
            return false;
        }
    }
    out += "}\n";
    return keep_if_fits(out, before, bytes_max);
}

bool ChunkText::append_csv(std::size_t row, std::string& out, std::size_t bytes_max) const {
    const auto before = out.size();
    const auto cell = [&](const Column& column) {
        if (column.is_null(row)) {
            return true;
        }
        switch (column.type.id()) {
            case LogicalTypeId::TIMESTAMP:
            case LogicalTypeId::TIMESTAMP_TZ:
                out += JsonValues<Column>::time(column, row);
                return out.size() <= bytes_max;
            case LogicalTypeId::VARCHAR:
                return append_csv_text(column.text(row), out, bytes_max);
            default: {
                std::string json;
                if (!JsonValues<Column>(json, bytes_max - std::min(bytes_max, out.size()))
                         .append(column, row)) {
                    return false;
                }
                if (json.front() == '"') {
                    json = json.substr(1, json.size() - 2);
                }
                if (column.type.IsNumeric()) {
                    out += json;  // A minus in front makes no formula of it.
                    return out.size() <= bytes_max;
                }
                return append_csv_text(json, out, bytes_max);
            }
        }
    };
    for (std::size_t i = 0; i < layout_.names.size(); ++i) {
        out += i > 0 ? "," : "";
        if (!cell(columns_[i])) {
            out.resize(before);
            return false;
        }
    }
    out += "\r\n";
    return keep_if_fits(out, before, bytes_max);
}

std::size_t ChunkText::row_bytes(std::size_t row) const {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < layout_.names.size(); ++i) {
        bytes += value_bytes(columns_[i], row);
    }
    return bytes;
}

std::string csv_header(const RowLayout& layout) {
    std::string out;
    for (std::size_t i = 0; i < layout.names.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_csv_text(layout.names[i], out, SIZE_MAX);
    }
    return out + "\r\n";
}

bool append_json_literal(std::string_view text, std::string& out, std::size_t bytes_max) {
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
        if (out.size() > bytes_max) {
            return false;
        }
    }
    flush(text.size());
    out.push_back('"');
    return out.size() <= bytes_max;
}

}  // namespace molesignal
