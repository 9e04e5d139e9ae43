#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "query/sql/scan_source.h"

namespace molesignal {

/// How a scan reads a part.
enum class PartReading : std::uint8_t {
    kUnasked,   ///< Whole: no condition that an index is asked.
    kNoIndex,   ///< Whole: it has no index, or one that cannot be read.
    kManyRows,  ///< Whole: its index leaves more rows than a selection is worth.
    kMaybe,     ///< The rows that its index has found, which are looked at.
    kCounted,   ///< Not at all: what the query wants of it has been counted.
    kExact,     ///< The rows that its index has found, which answer its conditions.
};

/// How one mention of a stream is read, as far as it is known before the scan begins.
struct ScanReport {
    /// Parts that are read alike.
    struct Reading {
        std::int64_t parts = 0;
        std::int64_t rows = 0;
        std::int64_t rows_left = 0;  ///< Those that indexes have left; or all.
    };

    std::shared_ptr<const ScanSource> source;
    std::int64_t skipped_by_times = 0;
    std::int64_t skipped_by_zone_maps = 0;
    std::int64_t skipped_by_index = 0;
    std::vector<std::string> conditions;   ///< That indexes were asked, in words.
    std::int64_t conditions_answered = 0;  ///< Of these: no row is looked at for them any more.
    std::map<PartReading, Reading> readings;

    void add(PartReading kind, std::int64_t rows, std::int64_t rows_left);
};

/// For people, lines; or one JSON object. They name no object.
std::string scan_report_text(const ScanReport& report);
std::string scan_report_json(const ScanReport& report);

}  // namespace molesignal
