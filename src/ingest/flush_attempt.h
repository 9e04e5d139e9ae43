#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "metadata/catalogue.h"
#include "parquet/part_writer.h"

namespace molesignal {

/// What one flush has done so far, kept so that a retry goes on where it stopped, with the same
/// names and the same bytes.
struct FlushAttempt {
    std::string flush_id;
    UnixNanos planned_at;
    /// Of the Parquet objects; a part's index has the same key but for the ending.
    std::vector<std::string> object_keys;
    /// Parts that are stored and verified: the first of `object_keys`, in order.
    std::vector<PartInfo> stored;
    /// The next part, encoded and perhaps stored: a put whose answer was lost is repeated with the
    /// very same bytes.
    std::optional<WrittenPart> encoded;
    ByteBuffer encoded_index;        ///< Of the same part; empty: it gets none.
    bool is_encoded_stored = false;  ///< The Parquet object is, its index is not yet.
    MemoryReservation encoded_memory;
    /// Set once every object is stored: from then on only the commit is repeated.
    std::optional<FlushCommit> commit;
};

}  // namespace molesignal
