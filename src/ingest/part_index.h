#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "model/hot_chunk.h"
#include "model/schema.h"
#include "parquet/part_plan.h"

namespace molesignal {

/// The index sidecar (docs/formats/index.md) of the part that write_part makes of the same slice,
/// chunks and schema. Texts are the fields of `text_fields` and those whose name says so
/// (is_text_field_name). What building takes is counted on `memory`; a field that does not fit is
/// left without a structure. `table_seed` is not to be guessed by senders
/// (SidecarWriterOptions); the bytes do not depend on it.
Result<ByteBuffer> write_part_index(const PartSlice& slice,
                                    std::span<const HotChunk> chunks,
                                    const StreamSchema& schema,
                                    const std::vector<std::string>& text_fields,
                                    std::uint64_t table_seed,
                                    const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
