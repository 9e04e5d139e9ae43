#pragma once

#include <optional>

#include "index/index_query.h"
#include "query/sql/parts/part_pruning.h"
#include "query/sql/scan_source.h"

namespace molesignal {

/// What an index can say of a condition.
struct IndexCondition {
    IndexQuery query;
    /// The rows that answer `query` are those for which the condition is true. Otherwise they are
    /// some of the rows that answer it.
    bool same = false;
    /// Worth opening indexes for; others are asked with those that are.
    bool helps = true;
};

/// The question to an index that a condition of DuckDB, after binding, stands for: `ms_match`,
/// LIKE and what DuckDB makes of it, regular expressions, comparisons of texts, IS [NOT] NULL,
/// joined by AND, OR and NOT. Nothing if an index does not help.
std::optional<IndexCondition> index_condition(const duckdb::Expression& condition,
                                              const ColumnOf& column_of,
                                              const ScanSource& source);

}  // namespace molesignal
