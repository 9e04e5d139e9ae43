#pragma once

#include <memory>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "tests/states/row_ledger.h"

namespace molesignal {

/// The rows of a part's Parquet object, as Arrow reads them; their stream is left empty. What was
/// read once is remembered by the bytes' hash `xxh3`, which the caller has compared: the same part
/// turns up in thousands of states. Thread-safe.
Result<std::shared_ptr<const std::vector<FoundRow>>> read_part_rows(Bytes object,
                                                                    std::uint64_t xxh3);

}  // namespace molesignal
