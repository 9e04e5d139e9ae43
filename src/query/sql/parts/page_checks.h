#pragma once

#include <string_view>

#include "common/result.h"

namespace molesignal {

/// Verifies the checksums of the pages of one column chunk of a Parquet file: DuckDB's reader does
/// not look at them, and answers with wrong values where a bit of a page is flipped. Pages without
/// a checksum pass. kCorruption: one is wrong, or `chunk` is no sequence of pages.
Result<> check_pages(std::string_view chunk);

}  // namespace molesignal
