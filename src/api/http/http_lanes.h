#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "net/http_server.h"

namespace molesignal {

/// The kinds of requests that are bounded apart from each other, so that none takes the threads of
/// another; the index into HttpServerOptions::lanes.
enum class Lane : std::uint8_t {
    kIngest = 0,  ///< Rows, until they are durable.
    kCommit = 1,  ///< What waits for a flush that is due.
    kFlush = 2,   ///< What flushes now; apart, because the waiting ones wait for it.
    kQuery = 3,   ///< From the statement to the last row.
    kAdmin = 4,   ///< What asks the catalogue.
    kLight = 5,   ///< What only looks into memory: metrics, running queries.
    kSignIn = 6,  ///< Credentials that the catalogue must be asked about.
};

/// The lanes by the server's settings, in the order of Lane.
std::vector<HttpLaneOptions> http_lanes(const Config& config);

/// The HTTP server's options by the settings: on `http.listen` and `otlp.http_listen`.
HttpServerOptions http_server_options(const Config& config);

}  // namespace molesignal
