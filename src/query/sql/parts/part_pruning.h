#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "metadata/catalogue.h"
#include "model/hot_chunk.h"
#include "query/sql/scan_source.h"

namespace duckdb {
class Expression;
class TableFilterSet;
class Value;
}  // namespace duckdb

namespace molesignal {

/// What is known of the values of one column in one part or chunk.
struct ColumnBounds {
    enum class Kind : std::uint8_t { kUnknown, kAllNull, kNumbers, kTexts };
    Kind kind = Kind::kUnknown;
    bool has_nulls = true;
    /// kNumbers: of the column's SQL type, in the units of its values. kTexts: bytes.
    std::string min;
    std::string max;
};

/// The scan's column that an expression is a plain reference to.
using ColumnOf = std::function<std::optional<std::size_t>(const duckdb::Expression&)>;
/// The bounds of a column of ScanSource (own columns first, then the schema's variants).
using BoundsOf = std::function<ColumnBounds(std::size_t column)>;

/// Whether some row within the bounds may make `condition` true. Only what is certain says no:
/// comparisons, BETWEEN, IN, IS [NOT] NULL, boolean columns and casts of numbers and times, joined
/// by AND and OR; anything else is possible.
///
/// `condition` is DuckDB's, after binding: its columns are columns, not names.
bool may_be_true(const duckdb::Expression& condition,
                 const ColumnOf& column_of,
                 const BoundsOf& bounds_of);

/// The same for what DuckDB pushed into a scan of `source`'s columns `columns`.
bool may_pass(const duckdb::TableFilterSet& filters,
              const std::vector<std::uint64_t>& columns,
              const ScanSource& source,
              const BoundsOf& bounds_of);

/// Whether every row within the bounds passes: comparisons of columns without NULL with constants,
/// joined by AND and OR; anything else is not certain.
bool must_pass(const duckdb::TableFilterSet& filters,
               const std::vector<std::uint64_t>& columns,
               const ScanSource& source,
               const BoundsOf& bounds_of);

/// Bounds of a part by its time bounds, positions and zone maps; of a chunk by its header.
ColumnBounds part_bounds(const PartInfo& part, const ScanSource& source, std::size_t column);
ColumnBounds chunk_bounds(const HotChunk& chunk, std::size_t column);

}  // namespace molesignal
