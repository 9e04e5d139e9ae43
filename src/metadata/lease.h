#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/ids.h"

namespace molesignal {

/// The right to do a job, until it expires or somebody else takes it.
struct Lease {
    std::string name;
    std::string holder;
    Epoch epoch;                  ///< Grows with every change of holder.
    std::int64_t expires_us = 0;  ///< By the database's clock.
};

/// A compaction or dump under way: its objects, named before the first is uploaded.
struct CompactionIntent {
    std::string compaction_id;  ///< ULID.
    StreamId stream;
    std::string lease;  ///< Name of the lease under which it runs.
    Epoch epoch;        ///< Of that lease.
    std::vector<std::string> object_keys;
    std::int64_t created_us = 0;
};

}  // namespace molesignal
