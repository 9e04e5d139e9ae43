#include "metadata/dump/part_dump.h"

#include <algorithm>

namespace molesignal {

void add_to_dump(PartDump& dump, const PartInfo& part) {
    const bool is_first = dump.parts == 0;
    ++dump.parts;
    dump.rows += part.rows;
    for (const auto& object : part.objects) {
        dump.part_bytes += object.bytes;
    }
    dump.raw_bytes += part.raw_bytes;
    dump.time_min_us = is_first ? part.time_min_us : std::min(dump.time_min_us, part.time_min_us);
    dump.time_max_us = is_first ? part.time_max_us : std::max(dump.time_max_us, part.time_max_us);
    dump.first_end_us = is_first ? part.time_max_us : std::min(dump.first_end_us, part.time_max_us);
}

}  // namespace molesignal
