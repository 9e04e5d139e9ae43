#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "metadata/part_info.h"

namespace molesignal {

/// A list of parts as a Parquet file, one row a part, in the order given
/// (docs/formats/part_list.md). What Arrow allocates is counted on `memory`, which may be null.
Result<ByteBuffer> encode_part_list(std::span<const PartInfo> parts,
                                    const std::string& partition,
                                    const std::shared_ptr<MemoryBudget>& memory);

/// The parts of such a file. kCorruption: it is none, of another version, or does not fit together.
/// The caller has verified that the bytes are those which were written.
Result<std::vector<PartInfo>> decode_part_list(Bytes file,
                                               const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
