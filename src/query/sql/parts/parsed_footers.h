#pragma once

#include <duckdb.hpp>
#include <parquet_reader.hpp>

#include "query/sql/engine_instance.h"

namespace molesignal {

/// A reader of a part's Parquet file. Its footer as DuckDB parses it is kept in the memory cache:
/// to parse that of a part of eight million rows takes 10 ms of the processor, more than most
/// queries need for the rest. Called for a query; throws what DuckDB's reader throws.
duckdb::shared_ptr<duckdb::ParquetReader> open_part_file(duckdb::ClientContext& context,
                                                         const duckdb::OpenFileInfo& file,
                                                         InstanceState& state);

}  // namespace molesignal
