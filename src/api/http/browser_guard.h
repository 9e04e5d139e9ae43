#pragma once

#include "common/result.h"
#include "net/http.h"

namespace molesignal {

/// What keeps web pages out of a server without credentials (auth.mode = none), which trusts
/// whoever reaches its loopback port: a browser on this machine does so for any page.
///
/// kForbidden: Host is not a loopback address or `localhost` (a foreign name that was made to point
/// here), or a request that may change something comes from a page of another origin.
Result<> check_not_from_foreign_page(const HttpRequest& request);

}  // namespace molesignal
