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

enum class FindingLevel : std::uint8_t { kOk = 1, kWarn = 2, kFail = 3 };

/// What an examination says about one thing.
struct Finding {
    FindingLevel level = FindingLevel::kOk;
    std::string area;  ///< "directory", "log", "catalogue", "objects", "orphans".
    std::string text;
};

struct ExaminationOptions {
    /// Reads all objects and compares their hashes; else only their sizes.
    bool reads_objects = true;
    /// An object that no part and no flush names is reported if it is older.
    std::chrono::seconds orphan_age{24 * 3600};
    /// Findings of one kind that are named; the rest is counted.
    std::size_t named_max = 20;
    /// Called with bytes done and in all; may be empty.
    std::function<void(std::uint64_t, std::uint64_t)> progress = {};
};

/// Looks at everything that a server of this configuration keeps: data directory, log, catalogue,
/// objects. Reads only, beside a running server or without one. What cannot be looked at is a
/// finding; kCancelled is the only error.
Result<std::vector<Finding>> examine(const RequestContext& context,
                                     const Config& config,
                                     const ExaminationOptions& options,
                                     FileSystem& fs,
                                     Clock& clock,
                                     Random& random);

}  // namespace molesignal
