#pragma once

#include <string_view>

#include "common/result.h"

namespace molesignal {

/// How an error looks from outside, in every protocol.
struct ErrorForm {
    ErrorCode code;
    std::string_view name;  ///< `error` of the JSON envelope.
    int http_status;
    int grpc_code;
    /// Whether the same request may succeed later without anybody's doing.
    bool retryable;
};

/// The form of an error: the one table of codes.
const ErrorForm& error_form(ErrorCode code);

/// The error as a client may see it. What went wrong inside (kInternal, kCorruption) is logged here
/// with the request's id, and the client gets the id to look it up.
Error error_for_client(const Error& error, std::string_view route, std::string_view request_id);

/// The setting that a message of a limit names ("… (http.body_bytes_max)"); empty if none. A closed
/// set, so fit for a label.
std::string_view setting_named_in(std::string_view message);

}  // namespace molesignal
