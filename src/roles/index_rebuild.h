#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/result.h"
#include "config/config.h"
#include "io/file_system.h"

namespace molesignal {

/// A part that has no whole index, or is to have a new one all the same.
struct IndexFinding {
    std::string stream;  ///< "default/app"
    std::string part;
    std::string reason;
};

struct IndexRebuildOptions {
    std::string org;       ///< Slug; empty: all.
    std::string stream;    ///< Name; empty: all.
    bool all = false;      ///< Also parts whose index is whole.
    bool dry_run = false;  ///< Only says what would be done; nothing is written.
    /// How long parts wait that another compactor is at work on.
    std::chrono::seconds busy_wait{600};
    /// Called for each part that has a new index, or would get one.
    std::function<void(const IndexFinding&)> found = {};
    /// Called with parts done and in all.
    std::function<void(std::size_t, std::size_t)> progress = {};
};

struct IndexRebuildReport {
    std::size_t parts = 0;    ///< Looked at.
    std::size_t rebuilt = 0;  ///< Of them; that would be, for a dry run.
    std::size_t gone = 0;     ///< Merged, expired or deleted meanwhile.
    std::vector<IndexFinding> failures;
};

/// Gives parts without an index, or with one that is not what the catalogue says, a new one: each
/// is written anew by a compactor's merge of this part alone, which is safe beside a running server
/// and against being killed. A part whose rows cannot be read stays as it is and is a failure.
///
/// Rate and memory are those of the compactor's settings. Scratch files and a lock against a second
/// run are in `compaction-rebuild` of the data directory. kNotFound: no such directory, catalogue,
/// organisation or stream. kConflict: another run is under way. Other errors: the catalogue does
/// not answer, or `context` ended; what was done until then is done.
Result<IndexRebuildReport> rebuild_indexes(const RequestContext& context,
                                           const Config& config,
                                           const IndexRebuildOptions& options,
                                           FileSystem& fs,
                                           Clock& clock,
                                           Random& random);

}  // namespace molesignal
