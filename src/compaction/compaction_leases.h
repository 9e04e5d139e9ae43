#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/request_context.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// Who works on the parts of streams beside other processes.
struct CompactionHolder {
    std::string name;  ///< Unlike any other's.
    /// Begins the names of earlier processes that are surely dead; may be empty.
    std::string replaces;
    std::chrono::seconds lease_time{300};
};

/// Leases of compaction and what was begun under them: whoever holds a lease removes the objects
/// that earlier holders have left behind. One thread at a time.
class CompactionLeases {
public:
    /// The references outlive this.
    CompactionLeases(CompactionHolder holder,
                     Catalogue& catalogue,
                     ObjectStore& objects,
                     Clock& clock)
        : holder_(std::move(holder)), catalogue_(catalogue), objects_(objects), clock_(clock) {}

    /// A lease, and when it was taken or renewed last.
    struct Held {
        Lease lease;
        SteadyNanos kept;
    };
    /// Nothing: another process holds it.
    Result<std::optional<Held>> acquire(const RequestContext& context, const std::string& name);
    /// Renews the lease when a third of its time is over. kConflict: somebody else had it.
    Result<> keep(const RequestContext& context, Held& held);
    void release(const RequestContext& context, const Held& held);

    /// Removes what was begun under a lease that is ours now and has not been committed.
    Result<> clear_intents(const RequestContext& context, const std::string& lease);
    Result<> clear_intent(const RequestContext& context, const CompactionIntent& intent);
    /// The same for every lease that nobody else holds: of processes that are gone.
    Result<> clear_abandoned(const RequestContext& context);

private:
    Result<Lease> take(const RequestContext& context, const std::string& name);

    CompactionHolder holder_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    Clock& clock_;
};

}  // namespace molesignal
