#include "roles/part_dump_settings.h"

namespace molesignal {

void apply_part_dump_settings(const Config& config, PartDumperOptions& options) {
    const auto& settings = config.storage.parquet_file_meta_dump;
    options.merges = config.compactor.merge;
    options.cold_after_days = settings.cold_after_days;
    options.partitions_max = settings.max_partitions_per_tick;
    options.level =
        settings.partition_level == PartitionLevel::kDaily ? DumpLevel::kDaily : DumpLevel::kHourly;
    options.retention_days = static_cast<std::int32_t>(config.compactor.retention_days);
}

}  // namespace molesignal
