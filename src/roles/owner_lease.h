#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "common/clock.h"
#include "common/random.h"
#include "common/result.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"

namespace molesignal {

/// The name of a data directory, kept in the file `path` and made at its first use (a ULID), so
/// that a restarted server renews the lease of the process before it at once.
Result<std::string> load_node_id(FileSystem& fs,
                                 const std::string& path,
                                 Clock& clock,
                                 Random& random);

/// The right to be the only standalone server on a catalogue: two of them would each take the
/// other's shards for leftovers of a dead process. Not thread-safe.
class OwnerLease {
public:
    static constexpr std::chrono::seconds kTime{30};
    static constexpr std::chrono::seconds kRenewalInterval{10};

    OwnerLease(Catalogue& catalogue, std::string node_id)
        : catalogue_(catalogue), node_id_(std::move(node_id)) {}

    /// Takes the lease. kConflict, with what to do: another server holds it.
    Result<> take(const RequestContext& context);
    /// Lengthens the lease. kConflict: another server took it meanwhile, because this one could not
    /// renew for `kTime`; the process must end without touching the catalogue again. Other errors
    /// (catalogue unreachable) are worth another try.
    Result<> renew(const RequestContext& context);
    /// Gives the lease back, so that a server on another directory need not wait.
    Result<> release(const RequestContext& context);

private:
    Result<> acquire(const RequestContext& context);

    Catalogue& catalogue_;
    const std::string node_id_;
    Lease lease_;
    bool held_ = false;
};

}  // namespace molesignal
