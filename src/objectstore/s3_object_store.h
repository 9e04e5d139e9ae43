#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/random.h"
#include "io/file_system.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// The S3 client library of the process, from `start` to the destructor.
///
/// Owned by the composition root; outlives every S3ObjectStore and ends before `main` returns.
/// There is one at a time, and after it ended none can be started again in this process
/// (kConflict).
class S3Library {
public:
    static Result<std::unique_ptr<S3Library>> start();
    ~S3Library();
    S3Library(const S3Library&) = delete;
    S3Library& operator=(const S3Library&) = delete;

private:
    S3Library() = default;
};

struct S3Options {
    std::string endpoint;  ///< "http://host:port" or "https://host"; empty: AWS by region.
    std::string region = "us-east-1";
    std::string bucket;      ///< Must exist.
    std::string prefix;      ///< Put before every key, with a '/' between; may be empty.
    std::string access_key;  ///< Empty: the chain of environment, profile, instance role.
    std::string secret_key;
    bool path_style = true;  ///< The bucket is in the path, not in the host name.
    std::chrono::nanoseconds op_timeout = std::chrono::seconds(30);  ///< Retries included.
    std::size_t max_concurrency = 8;  ///< Operations at once; more wait within their deadline.
    int max_attempts = 4;             ///< The first one included.
    std::chrono::nanoseconds base_backoff = std::chrono::milliseconds(100);
    std::chrono::nanoseconds max_backoff = std::chrono::seconds(5);
    double jitter_ratio = 0.2;
};

/// Objects in a bucket of S3 or of a server that speaks its protocol.
///
/// Every operation runs on a thread of the store, so that a caller leaves at its deadline even if
/// the server does not answer; the operation then goes on for at most op_timeout, and a put or
/// remove may still take place. Bodies of more than 10 MB are sent in parts. A key whose object is
/// replaced by one of another size while it is read may give bytes of neither; our keys are written
/// once. `remove` leaves an empty object "folder/" in the place of the last one of a folder.
/// `list` holds all names below the prefix in memory.
///
/// Errors: kForbidden (credentials, policy), kTimeout, kUnavailable (the rest).
class S3ObjectStore {
public:
    /// Checks the options, connects nowhere. `fs` (source of put_file), `clock` and `random`
    /// outlive the store. kInvalidArgument names the wrong setting.
    static Result<std::unique_ptr<ObjectStore>> open(const S3Options& options,
                                                     FileSystem& fs,
                                                     Clock& clock,
                                                     Random& random);
};

}  // namespace molesignal
