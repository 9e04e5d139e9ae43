#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/result.h"
#include "config/config.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"
#include "objectstore/s3_object_store.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

/// The object store of a configuration, and what must outlive it.
struct OpenObjectStore {
    std::unique_ptr<S3Library> library;  ///< Null for a local one.
    std::unique_ptr<ObjectStore> store;
};

enum class StoreUse : std::uint8_t {
    kServe = 1,  ///< Makes the directory of a local store, removes what a killed process left.
    kLook = 2,   ///< Beside a server: nothing is made and nothing removed.
};

/// Opens the object store (store.object).
Result<OpenObjectStore> open_object_store(const RequestContext& context,
                                          const Config& config,
                                          StoreUse use,
                                          FileSystem& fs,
                                          Clock& clock,
                                          Random& random);

struct OpenObjectReader {
    std::shared_ptr<ObjectReader> reader;
    std::string problem;  ///< Why there is no disk cache, if there should be one.
};

/// How queries read `objects`: with the caches of the configuration. A disk cache that cannot be
/// opened is left out: reads are slower without, not wrong. `memory` is the process's. The
/// references outlive the reader.
OpenObjectReader make_object_reader(const Config& config,
                                    ObjectStore& objects,
                                    const std::shared_ptr<MemoryBudget>& memory,
                                    FileSystem& fs,
                                    Clock& clock,
                                    MetricRegistry& metrics);

/// Reads `objects`, which outlives it, without caches: for commands.
std::shared_ptr<ObjectReader> plain_object_reader(ObjectStore& objects,
                                                  Clock& clock,
                                                  MetricRegistry& metrics);

/// How a catalogue reads the parts that dumps list; `memory` may be null.
std::shared_ptr<PartDumpReader> make_part_dump_reader(std::shared_ptr<ObjectReader> reader,
                                                      const std::shared_ptr<MemoryBudget>& memory,
                                                      Clock& clock,
                                                      MetricRegistry& metrics);

/// Opens the catalogue (store.meta).
Result<std::unique_ptr<Catalogue>> open_catalogue(const Config& config,
                                                  Clock& clock,
                                                  Random& random);

/// Opens the catalogue for a command that changes it beside a server or without one: nothing is
/// made, migrated or repaired. kNotFound, kConflict: no server of this version has used it yet.
/// kCorruption: its journal is damaged, which the next start of a server must see.
Result<std::unique_ptr<Catalogue>> open_catalogue_beside(const RequestContext& context,
                                                         const Config& config,
                                                         FileSystem& fs,
                                                         Clock& clock,
                                                         Random& random);

}  // namespace molesignal
