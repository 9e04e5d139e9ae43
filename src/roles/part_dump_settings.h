#pragma once

#include "compaction/part_dumper.h"
#include "config/config.h"

namespace molesignal {

/// Takes over what may change while the server runs: storage.parquet_file_meta_dump.*, and the
/// compactor's settings that it depends on.
void apply_part_dump_settings(const Config& config, PartDumperOptions& options);

}  // namespace molesignal
