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
/// (at once in this process). So is a prefix that names no token; and only so many of those are
/// looked up in a second, so that guessing does not reach the catalogue.
class Authenticator {
public:
    static constexpr std::string_view kDefaultOrganization = "default";

    /// Makes the default organisation if it is missing. `catalogue`, `clock` and `random` outlive
    /// the authenticator.
    static Result<std::unique_ptr<Authenticator>> open(const RequestContext& context,
                                                       Catalogue& catalogue,
                                                       Clock& clock,
                                                       Random& random,
                                                       const AuthConfig& config);

    AuthMode mode() const { return config_.mode; }
    const Organization& default_organization() const { return default_organization_; }

    /// `authorization`: the value of the header, if the request has one. `organizations`: every
    /// value of X-Org-Id and X-Scope-OrgID (slug or id). kUnauthenticated: no, malformed, unknown,
    /// expired or revoked credential (the message does not say which of the last three).
    /// kForbidden: a value of `organizations` is not exactly the credential's. kResourceExhausted:
    /// too many unknown tokens are tried. kUnavailable: the catalogue is down.
    Result<Principal> authenticate(const RequestContext& context,
                                   std::optional<std::string_view> authorization,
                                   const std::vector<std::string>& organizations);

    /// The same from memory alone, without waiting; nothing if the catalogue must be asked.
    std::optional<Result<Principal>> recall(std::optional<std::string_view> authorization,
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
                  const AuthConfig& config,
                  Organization default_organization);

    /// Who asks in mode kNone.
    Result<Principal> anybody(const std::vector<std::string>& organizations) const;
    /// What is remembered of a token: its entry, or that there is none alive.
    std::optional<Result<Cached>> remembered(std::string_view prefix);
    /// The token's entry by the catalogue; kUnauthenticated if there is none alive.
    Result<Cached> find_token(const RequestContext& context, std::string_view prefix);
    void remember_unknown(std::string_view prefix);
    /// Takes one of this second's look-ups for a prefix that never named a token here.
    Result<> take_lookup() MS_REQUIRES(mutex_);
    Result<Principal> check(std::string_view text,
                            Cached entry,
                            const std::vector<std::string>& organizations) const;
    Result<std::string> organization_slug(const RequestContext& context, const OrgId& org);

    Catalogue& catalogue_;
    Clock& clock_;
    Random& random_;
    AuthConfig config_;
    Organization default_organization_;
    Mutex mutex_;
    std::map<std::string, Cached, std::less<>> cache_ MS_GUARDED_BY(mutex_);
    /// Prefixes that name no token, and until when that is believed.
    std::map<std::string, SteadyNanos, std::less<>> unknown_ MS_GUARDED_BY(mutex_);
    double lookups_left_ MS_GUARDED_BY(mutex_);
    SteadyNanos lookups_counted_at_ MS_GUARDED_BY(mutex_);
    /// Counts revocations: an answer of the catalogue from before one is not remembered.
    std::uint64_t revocations_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
