#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/result.h"
#include "config/config.h"
#include "io/file_system.h"

namespace molesignal {

/// Where a running server listens: "127.0.0.1:5080".
struct ServerAddresses {
    std::string http;
    std::string grpc;
    std::string otlp_grpc;
    std::string otlp_http;
};

/// The whole server in one process: HTTP and gRPC in front, ingester, SQL engine and background
/// work behind, catalogue and object store below. Composition only; what it composes is in the
/// layers below.
///
/// `start` listens first (probes answer during the replay) and returns when the server is ready.
/// `drain` may be called from another thread than `start`.
class Standalone {
public:
    virtual ~Standalone() = default;

    /// `fs`, `clock` and `random` outlive the server. kConflict: the data directory is in use.
    /// kCancelled: `cancel` was set before the server was ready; nothing is lost by that.
    static Result<std::unique_ptr<Standalone>> start(const Config& config,
                                                     const std::string& version,
                                                     FileSystem& fs,
                                                     Clock& clock,
                                                     Random& random,
                                                     const CancelToken& cancel);

    virtual const ServerAddresses& addresses() const = 0;
    /// The admin token made at the first start with `auth.mode = token`; empty otherwise. Shown
    /// once.
    virtual const std::string& first_token() const = 0;

    /// Takes over what may change while running from a configuration that was read anew, or its
    /// error: then nothing changes. Says in the log and in metrics what came of it. Returns what is
    /// in force.
    virtual const Config& reload(const Result<Config>& wanted) = 0;

    /// Not ready, finishes what runs within node.drain_timeout_secs and cuts what is left then,
    /// syncs the log, closes everything.
    virtual Result<> drain() = 0;
};

/// The ready file: JSON with the addresses and the process id, written atomically.
Result<> write_ready_file(FileSystem& fs,
                          const std::string& path,
                          const ServerAddresses& addresses,
                          int pid);

}  // namespace molesignal
