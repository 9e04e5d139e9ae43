#pragma once

#include <cstdint>

#include "tests/states/store_process.h"

namespace molesignal {

/// What a database lives through in short, from its first start on: migration, rows for several
/// streams one by one, in batches and from several connections at once, rotation, flushes of many
/// parts, a changing schema, retention, a stream deleted and made again, idle shards, restarts.
/// Returns the first error.
Result<> run_reference_workload(FileSystem& fs, const LedgerSink& sink, std::uint64_t seed);

}  // namespace molesignal
