#pragma once

#include <cstdint>
#include <vector>

#include <duckdb.hpp>
#include <parquet_reader.hpp>

#include "index/row_set.h"

namespace molesignal {

/// Lets `reader`, which has just been made, read the chosen rows of its file only. It gets a footer
/// with the row groups in which a row is chosen: with all of them DuckDB walks through the column
/// chunks of each, which of a part of eight million rows takes several times what the query needs
/// for the rest. Counts of groups and positions are those of that footer from then on. `rows` is of
/// the file's rows, has at least one, and outlives the reader.
void choose_rows(duckdb::ParquetReader& reader, const RowSet& rows);

}  // namespace molesignal
