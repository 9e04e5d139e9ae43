#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "auth/permission.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/result.h"
#include "config/config.h"
#include "metadata/catalogue.h"

namespace molesignal {

/// Who asks, as verified.
struct Principal {
    OrgId org;
    std::string org_slug;
    std::string token_id;  ///< Empty in mode kNone.
    PermissionSet permissions;

    bool may(Permission permission) const { return permissions.has(permission); }
};

/// What a new token may do.
struct TokenRequest {
    OrgId org;
    std::string name;                      ///< 1 to 255 bytes, for people.
    std::vector<std::string> permissions;  ///< "ingest", "query", "admin"; at least one.
    std::optional<std::int64_t> expires_us;
};

struct NewToken {
    ApiToken token;
    std::string text;  ///< The credential; shown once, only its hash is kept.
};

/// Turns headers into a Principal, and keeps the tokens. Thread-safe.
///
/// The organisation comes from the verified credential alone; headers may only repeat it. A token
/// is remembered for at most five seconds, so that a revoked one is refused everywhere that soon
/// (at once in this process).
class Authenticator {
public:
    static constexpr std::string_view kDefaultOrganization = "default";

    /// Makes the default organisation if it is missing. `catalogue`, `clock` and `random` outlive
    /// the authenticator.
    static Result<std::unique_ptr<Authenticator>> open(const RequestContext& context,
                                                       Catalogue& catalogue,
                                                       Clock& clock,
                                                       Random& random,
                                                       AuthMode mode);

    AuthMode mode() const { return mode_; }
    const Organization& default_organization() const { return default_organization_; }

    /// `authorization`: the value of the header, if the request has one. `organizations`: every
    /// value of X-Org-Id and X-Scope-OrgID (slug or id). kUnauthenticated: no, malformed, unknown,
    /// expired or revoked credential (the message does not say which of the last three).
    /// kForbidden: a value of `organizations` is not exactly the credential's. kUnavailable: the
    /// catalogue is down.
    Result<Principal> authenticate(const RequestContext& context,
                                   std::optional<std::string_view> authorization,
                                   const std::vector<std::string>& organizations);

    /// kInvalidArgument for a name or permission that is not allowed.
    Result<NewToken> create_token(const RequestContext& context, const TokenRequest& request);
    Result<std::vector<ApiToken>> list_tokens(const RequestContext& context, const OrgId& org);
    /// kNotFound if the organisation has no such token.
    Result<> revoke_token(const RequestContext& context, const OrgId& org, std::string_view id);

    /// In mode kToken with no token at all in the catalogue: makes one for the default organisation
    /// with all permissions and returns its text, for the operator's eyes, once. Nothing otherwise.
    Result<std::optional<std::string>> ensure_bootstrap_token(const RequestContext& context);

private:
    struct Cached {
        std::string secret_sha256_hex;
        Principal principal;
        std::optional<std::int64_t> expires_us;
        SteadyNanos forget_at;
    };

    Authenticator(Catalogue& catalogue,
                  Clock& clock,
                  Random& random,
                  AuthMode mode,
                  Organization default_organization);

    /// The token's entry, from the cache or the catalogue; kUnauthenticated if there is none alive.
    Result<Cached> find_token(const RequestContext& context, std::string_view prefix);
    Result<std::string> organization_slug(const RequestContext& context, const OrgId& org);

    Catalogue& catalogue_;
    Clock& clock_;
    Random& random_;
    AuthMode mode_;
    Organization default_organization_;
    Mutex mutex_;
    std::map<std::string, Cached, std::less<>> cache_ MS_GUARDED_BY(mutex_);
    /// Counts revocations: an answer of the catalogue from before one is not remembered.
    std::uint64_t revocations_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
