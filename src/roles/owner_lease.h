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

/// The right to be the only standalone server on a catalogue: a query of one would not see the rows
/// that the other has not flushed yet. Not thread-safe.
///
/// The holder is named after the data directory, this very directory on this start of the machine
/// (DirectoryLock::identity) and the process. Who holds the directory's lock takes the lease from
/// an earlier process of the same directory at once, for that one is dead. A copy of the directory,
/// or the same one on another machine, waits until the lease ends.
class OwnerLease {
public:
    static constexpr std::chrono::seconds kTime{30};
    static constexpr std::chrono::seconds kRenewalInterval{10};

    /// `identity` of the directory's lock, which the caller holds. May be empty: then nobody is
    /// known to be dead.
    OwnerLease(Catalogue& catalogue,
               const std::string& node_id,
               const std::string& identity,
               Random& random);

    /// Takes the lease. kConflict, with what to do: another server holds it.
    Result<> take(const RequestContext& context);
    /// Lengthens the lease. kConflict: another server took it meanwhile, because this one could not
    /// renew for `kTime`; the process must end without touching the catalogue again. Other errors
    /// (catalogue unreachable) are worth another try.
    Result<> renew(const RequestContext& context);
    /// Gives the lease back, so that a server on another directory need not wait.
    Result<> release(const RequestContext& context);

    /// This process, among all that use the catalogue.
    const std::string& holder() const { return holder_; }
    /// Begins the holders' names of earlier processes of the directory, which are dead; may be
    /// empty.
    const std::string& directory() const { return directory_; }

private:
    Result<> acquire(const RequestContext& context, std::string_view replaces);

    Catalogue& catalogue_;
    const std::string directory_;  ///< Begins the holders' names; empty without identity.
    const std::string holder_;
    Lease lease_;
    bool held_ = false;
};

}  // namespace molesignal
