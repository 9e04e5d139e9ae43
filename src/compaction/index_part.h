#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/memory_budget.h"
#include "common/result.h"
#include "compaction/part_merge.h"
#include "parquet/part_reader.h"

namespace molesignal {

/// Row groups [begin, end) of a part, which one index object covers.
struct GroupSpan {
    std::size_t begin = 0;
    std::size_t end = 0;
    friend bool operator==(const GroupSpan&, const GroupSpan&) = default;
};

/// Which fields of a part an index is of.
enum class IndexScope : std::uint8_t {
    kAll,     ///< All.
    kValues,  ///< All but texts, which are listed without a structure.
    kTexts,   ///< Texts only; nothing is known of other fields.
};

/// What building an index may take, and how it is done.
struct IndexBuild {
    const std::vector<std::string>& text_fields;  ///< By the stream's settings.
    /// Of SidecarWriterOptions.
    std::uint64_t table_seed = 0;
    /// Rows of ids that are in memory at a time: some 24 bytes each. A larger part's ids are read
    /// more than once.
    std::uint32_t id_rows_max = 3U << 20U;
};

/// Cuts a part into spans of at most `rows_max` rows, if its row groups are not larger: what one
/// index object takes to build must not grow with the part.
std::vector<GroupSpan> index_spans(const PartReader& part, std::uint64_t rows_max);

/// The index sidecar (docs/formats/index.md) of the rows of these row groups, read from the part's
/// file column after column. With IndexScope::kAll the same as a flush makes of the same rows.
/// Counted on `memory`; a field that does not fit is left without a structure.
Result<ByteBuffer> index_part(PartReader& part,
                              const GroupSpan& groups,
                              IndexScope scope,
                              const IndexBuild& build,
                              const Pace& pace,
                              const std::shared_ptr<MemoryBudget>& memory);

}  // namespace molesignal
