#include "auth/authenticator.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "auth/token.h"

namespace molesignal {
namespace {

constexpr std::chrono::seconds kRememberToken{5};
constexpr std::size_t kCacheTokensMax = 10'000;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::string_view kBootstrapLease = "bootstrap_token";
constexpr std::int64_t kBootstrapLeaseUs = 30'000'000;

Error refused() {
    return Error(ErrorCode::kUnauthenticated,
                 "the token is unknown, expired or revoked; create one with `molesignal token "
                 "create`");
}

/// Headers choose among the credential's organisations: exactly its slug or id, or nothing.
Result<> check_organizations(const std::vector<std::string>& named, const Principal& principal) {
    for (const auto& name : named) {
        if (name != principal.org_slug && name != principal.org.value) {
            // The value is not repeated: it comes from outside and helps nobody.
            return Error(ErrorCode::kForbidden,
                         fmt::format("this credential is for the organisation '{}' only; X-Org-Id "
                                     "or X-Scope-OrgID names another one",
                                     principal.org_slug));
        }
    }
    return {};
}

Result<std::vector<std::string>> check_permissions(const std::vector<std::string>& names) {
    PermissionSet set;
    for (const auto& name : names) {
        const auto permission = parse_permission(name);
        if (!permission.has_value()) {
            return Error(ErrorCode::kInvalidArgument,
                         "a token's permissions are among ingest, query, admin");
        }
        set.add(*permission);
    }
    if (set.empty()) {
        return Error(ErrorCode::kInvalidArgument,
                     "a token needs at least one permission: ingest, query, admin");
    }
    std::vector<std::string> unique;
    for (const auto permission : {Permission::kIngest, Permission::kQuery, Permission::kAdmin}) {
        if (set.has(permission)) {
            unique.emplace_back(permission_name(permission));
        }
    }
    return unique;
}

}  // namespace

Authenticator::Authenticator(Catalogue& catalogue,
                             Clock& clock,
                             Random& random,
                             AuthMode mode,
                             Organization default_organization)
    : catalogue_(catalogue),
      clock_(clock),
      random_(random),
      mode_(mode),
      default_organization_(std::move(default_organization)) {}

Result<std::unique_ptr<Authenticator>> Authenticator::open(const RequestContext& context,
                                                           Catalogue& catalogue,
                                                           Clock& clock,
                                                           Random& random,
                                                           AuthMode mode) {
    MS_TRY(auto organization, catalogue.ensure_organization(context, kDefaultOrganization));
    return std::unique_ptr<Authenticator>(
        new Authenticator(catalogue, clock, random, mode, std::move(organization)));
}

Result<std::string> Authenticator::organization_slug(const RequestContext& context,
                                                     const OrgId& org) {
    if (org == default_organization_.id) {
        return default_organization_.slug;
    }
    MS_TRY(const auto organizations, catalogue_.list_organizations(context));
    const auto found = std::ranges::find(organizations, org, &Organization::id);
    if (found == organizations.end()) {
        return refused();
    }
    return found->slug;
}

Result<Authenticator::Cached> Authenticator::find_token(const RequestContext& context,
                                                        std::string_view prefix) {
    const auto asked_at = clock_.steady_now();
    std::uint64_t revocations = 0;
    {
        const MutexLock lock(mutex_);
        const auto found = cache_.find(prefix);
        if (found != cache_.end() && asked_at < found->second.forget_at) {
            return found->second;
        }
        revocations = revocations_;
    }
    MS_TRY(const auto token, catalogue_.find_token(context, prefix));
    if (!token.has_value() || token->revoked_us.has_value()) {
        const MutexLock lock(mutex_);
        cache_.erase(std::string(prefix));
        return refused();
    }
    Cached entry{.secret_sha256_hex = token->secret_sha256_hex,
                 .principal = {.org = token->org, .token_id = token->id},
                 .expires_us = token->expires_us,
                 .forget_at = asked_at + kRememberToken};
    MS_TRY(entry.principal.org_slug, organization_slug(context, token->org));
    for (const auto& name : token->permissions) {
        if (const auto permission = parse_permission(name)) {
            entry.principal.permissions.add(*permission);
        }
    }
    const MutexLock lock(mutex_);
    if (revocations == revocations_) {
        if (cache_.size() >= kCacheTokensMax) {
            cache_.clear();
        }
        cache_.insert_or_assign(std::string(prefix), entry);
    }
    return entry;
}

Result<Principal> Authenticator::authenticate(const RequestContext& context,
                                              std::optional<std::string_view> authorization,
                                              const std::vector<std::string>& organizations) {
    if (mode_ == AuthMode::kNone) {
        Principal principal{.org = default_organization_.id,
                            .org_slug = default_organization_.slug,
                            .token_id = {},
                            .permissions = PermissionSet::all()};
        MS_TRY_VOID(check_organizations(organizations, principal));
        return principal;
    }
    if (!authorization.has_value()) {
        return Error(ErrorCode::kUnauthenticated,
                     "send a token: `Authorization: Bearer ms_…`, or Basic with the token as "
                     "password");
    }
    const auto text = token_of_header(*authorization);
    if (!text.has_value()) {
        return Error(ErrorCode::kUnauthenticated,
                     "the Authorization header holds no token: `Bearer ms_…`, or Basic with the "
                     "token as password");
    }
    MS_TRY(auto entry, find_token(context, *token_prefix(*text)));
    if (!equal_in_constant_time(sha256_hex(*text), entry.secret_sha256_hex)) {
        return refused();
    }
    if (entry.expires_us.has_value() && clock_.now().value / 1000 >= *entry.expires_us) {
        return refused();
    }
    MS_TRY_VOID(check_organizations(organizations, entry.principal));
    return std::move(entry.principal);
}

Result<NewToken> Authenticator::create_token(const RequestContext& context,
                                             const TokenRequest& request) {
    const bool has_control = std::ranges::any_of(request.name, [](char character) {
        return static_cast<unsigned char>(character) < 0x20 || character == 0x7f;
    });
    if (request.name.empty() || request.name.size() > kNameBytesMax || has_control) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("a token's name has 1 to {} bytes and no control characters",
                                 kNameBytesMax));
    }
    const auto now = clock_.now();
    if (request.expires_us.has_value() && *request.expires_us <= now.value / 1000) {
        return Error(ErrorCode::kInvalidArgument, "the token would have expired already");
    }
    MS_TRY(auto permissions, check_permissions(request.permissions));
    auto text = make_token(random_);
    NewToken made{.token = {.id = make_ulid(now, random_),
                            .org = request.org,
                            .name = request.name,
                            .prefix = std::move(text.prefix),
                            .secret_sha256_hex = sha256_hex(text.text),
                            .permissions = std::move(permissions),
                            .created_us = now.value / 1000,
                            .expires_us = request.expires_us,
                            .revoked_us = std::nullopt},
                  .text = std::move(text.text)};
    MS_TRY_VOID(catalogue_.add_token(context, made.token));
    return made;
}

Result<std::vector<ApiToken>> Authenticator::list_tokens(const RequestContext& context,
                                                         const OrgId& org) {
    return catalogue_.list_tokens(context, org);
}

Result<> Authenticator::revoke_token(const RequestContext& context,
                                     const OrgId& org,
                                     std::string_view id) {
    MS_TRY_VOID(catalogue_.revoke_token(context, org, id));
    const MutexLock lock(mutex_);
    ++revocations_;
    std::erase_if(cache_, [&](const auto& entry) { return entry.second.principal.token_id == id; });
    return {};
}

Result<std::optional<std::string>> Authenticator::ensure_bootstrap_token(
    const RequestContext& context) {
    if (mode_ != AuthMode::kToken) {
        return std::optional<std::string>();
    }
    // Of several processes that start at once, one makes the token.
    const auto lease = catalogue_.acquire_lease(
        context, kBootstrapLease, make_ulid(clock_.now(), random_), kBootstrapLeaseUs);
    if (!lease) {
        if (lease.error().code() == ErrorCode::kConflict) {
            return std::optional<std::string>();
        }
        return lease.error();
    }
    const auto make = [&]() -> Result<std::optional<std::string>> {
        MS_TRY(const auto organizations, catalogue_.list_organizations(context));
        for (const auto& organization : organizations) {
            MS_TRY(const auto tokens, catalogue_.list_tokens(context, organization.id));
            if (!tokens.empty()) {
                return std::optional<std::string>();
            }
        }
        MS_TRY(auto made,
               create_token(context,
                            {.org = default_organization_.id,
                             .name = "first token",
                             .permissions = {"ingest", "query", "admin"},
                             .expires_us = std::nullopt}));
        return std::optional<std::string>(std::move(made.text));
    };
    auto made = make();
    // A lease that could not be given back expires by itself.
    if (auto released = catalogue_.release_lease(context, *lease); !released && !made) {
        return std::move(made).error().wrap("make the first token");
    }
    return made;
}

}  // namespace molesignal
