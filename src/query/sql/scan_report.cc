#include "query/sql/scan_report.h"

#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "query/sql/value_text.h"

namespace molesignal {
namespace {

std::int64_t parts_in_range(const ScanReport& report) {
    return static_cast<std::int64_t>(report.source->parts.size());
}

std::int64_t hot_rows(const ScanReport& report) {
    std::int64_t rows = 0;
    for (const auto& chunk : report.source->hot.chunks) {
        rows += chunk.rows;
    }
    return rows;
}

std::string table_name(const ScanReport& report) {
    const auto& stream = report.source->stream;
    return fmt::format("{}.{}", stream_type_name(stream.type), stream.name);
}

std::string_view word_of(PartReading reading) {
    switch (reading) {
        case PartReading::kUnasked:
            return "no_condition";
        case PartReading::kNoIndex:
            return "no_index";
        case PartReading::kManyRows:
            return "many_rows";
        case PartReading::kMaybe:
            return "index";
        case PartReading::kCounted:
            return "counted";
        case PartReading::kExact:
            return "index_exact";
    }
    return "";
}

std::string line_of(PartReading kind, const ScanReport::Reading& reading) {
    const auto parts = fmt::format("{} part{}", reading.parts, reading.parts == 1 ? "" : "s");
    const auto whole = fmt::format("{} whole, {} rows", parts, reading.rows);
    const auto chosen =
        fmt::format("{} by index, {} of {} rows", parts, reading.rows_left, reading.rows);
    switch (kind) {
        case PartReading::kUnasked:
            return whole + ": no condition for an index";
        case PartReading::kNoIndex:
            return whole + ": no index";
        case PartReading::kManyRows:
            return fmt::format(
                "{}: the index leaves {}, more than a third", whole, reading.rows_left);
        case PartReading::kMaybe:
            return chosen + ", which are looked at";
        case PartReading::kCounted:
            return fmt::format("{} not read, {} rows: they have been counted", parts, reading.rows);
        case PartReading::kExact:
            return chosen + ", exactly";
    }
    return whole;
}

}  // namespace

void ScanReport::add(PartReading kind, std::int64_t rows, std::int64_t rows_left) {
    auto& reading = readings[kind];
    ++reading.parts;
    reading.rows += rows;
    reading.rows_left += rows_left;
}

std::string scan_report_text(const ScanReport& report) {
    const auto total = report.source->parts_total;
    auto text = fmt::format(
        "{}: {} part{}; skipped: {} by the time range, {} by times, {} by zone maps, {} by index",
        table_name(report),
        total,
        total == 1 ? "" : "s",
        total - parts_in_range(report),
        report.skipped_by_times,
        report.skipped_by_zone_maps,
        report.skipped_by_index);
    for (const auto& condition : report.conditions) {
        text += "\nindex asked: " + condition;
    }
    if (!report.conditions.empty()) {
        text += fmt::format("\nconditions answered by index alone: {} of {}",
                            report.conditions_answered,
                            report.conditions.size());
    }
    for (const auto& [kind, reading] : report.readings) {
        text += "\n" + line_of(kind, reading);
    }
    return text + fmt::format("\nhot rows: {}", hot_rows(report));
}

std::string scan_report_json(const ScanReport& report) {
    std::vector<std::string> conditions;
    for (const auto& condition : report.conditions) {
        append_json_literal(condition, conditions.emplace_back());
    }
    std::vector<std::string> readings;
    for (const auto& [kind, reading] : report.readings) {
        readings.push_back(fmt::format(R"({{"how":"{}","parts":{},"rows":{},"rows_left":{}}})",
                                       word_of(kind),
                                       reading.parts,
                                       reading.rows,
                                       reading.rows_left));
    }
    std::string name;
    append_json_literal(table_name(report), name);
    return fmt::format(
        R"({{"stream":{},"parts_total":{},"skipped_by_time_range":{},"skipped_by_times":{},)"
        R"("skipped_by_zone_maps":{},"skipped_by_index":{},"conditions":[{}],)"
        R"("conditions_answered":{},"readings":[{}],"hot_rows":{}}})",
        name,
        report.source->parts_total,
        report.source->parts_total - parts_in_range(report),
        report.skipped_by_times,
        report.skipped_by_zone_maps,
        report.skipped_by_index,
        fmt::join(conditions, ","),
        report.conditions_answered,
        fmt::join(readings, ","),
        hot_rows(report));
}

}  // namespace molesignal
