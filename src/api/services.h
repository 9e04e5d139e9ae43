#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "api/health.h"
#include "auth/authenticator.h"
#include "common/clock.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "common/random.h"
#include "config/live_config.h"
#include "ingest/ingester.h"
#include "metadata/catalogue.h"
#include "query/query_registry.h"
#include "query/sql/sql_engine.h"

namespace molesignal {

/// What the protocols need of the process. All references outlive the API. The pointers are set
/// once, before `started` becomes true; until then only probes, metrics and version answer.
struct ApiServices {
    const LiveConfig& config;
    Clock& clock;
    Random& random;
    MetricRegistry& metrics;
    Health& health;
    std::string version;
    std::shared_ptr<MemoryBudget> memory;  ///< The process's; may be null.

    std::atomic<bool> started{false};
    Catalogue* catalogue = nullptr;
    Authenticator* authenticator = nullptr;
    Ingester* ingester = nullptr;
    SqlEngine* sql = nullptr;
    QueryRegistry* queries = nullptr;
    /// Counts decoded rows until they are on their way (ingester.decode_memory_mb).
    std::shared_ptr<MemoryBudget> decode_memory;
};

}  // namespace molesignal
