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

/// The token of the Authorization header.
Result<std::string> token_text(std::optional<std::string_view> authorization) {
    if (!authorization.has_value()) {
        return Error(ErrorCode::kUnauthenticated,
                     "send a token: `Authorization: Bearer ms_…`, or Basic with the token as "
                     "password");
    }
    auto text = token_of_header(*authorization);
    if (!text.has_value()) {
        return Error(ErrorCode::kUnauthenticated,
                     "the Authorization header holds no token: `Bearer ms_…`, or Basic with the "
                     "token as password");
    }
    return *std::move(text);
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
                             const AuthConfig& config,
                             Organization default_organization)
    : catalogue_(catalogue),
      clock_(clock),
      random_(random),
      config_(config),
      default_organization_(std::move(default_organization)),
      lookups_left_(static_cast<double>(config.unknown_tokens_per_second_max)),
      lookups_counted_at_(clock.steady_now()) {}

Result<std::unique_ptr<Authenticator>> Authenticator::open(const RequestContext& context,
                                                           Catalogue& catalogue,
                                                           Clock& clock,
                                                           Random& random,
                                                           const AuthConfig& config) {
    MS_TRY(auto organization, catalogue.ensure_organization(context, kDefaultOrganization));
    return std::unique_ptr<Authenticator>(
        new Authenticator(catalogue, clock, random, config, std::move(organization)));
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

std::optional<Result<Authenticator::Cached>> Authenticator::remembered(std::string_view prefix) {
    const auto now = clock_.steady_now();
    const MutexLock lock(mutex_);
    if (const auto found = cache_.find(prefix);
        found != cache_.end() && now < found->second.forget_at) {
        return found->second;
    }
    if (const auto found = unknown_.find(prefix); found != unknown_.end()) {
        if (now < found->second) {
            return refused();
        }
        unknown_.erase(found);
    }
    return std::nullopt;
}

Result<> Authenticator::take_lookup() {
    const auto now = clock_.steady_now();
    const auto most = static_cast<double>(config_.unknown_tokens_per_second_max);
    const std::chrono::duration<double> passed = now - lookups_counted_at_;
    lookups_counted_at_ = now;
    lookups_left_ = std::min(most, lookups_left_ + passed.count() * most);
    if (lookups_left_ < 1) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("more than {} unknown tokens a second are tried "
                                 "(auth.unknown_tokens_per_second_max)",
                                 config_.unknown_tokens_per_second_max));
    }
    lookups_left_ -= 1;
    return {};
}

void Authenticator::remember_unknown(std::string_view prefix) {
    const auto until = clock_.steady_now() + kRememberToken;
    const MutexLock lock(mutex_);
    cache_.erase(std::string(prefix));
    if (unknown_.size() >= kCacheTokensMax) {
        unknown_.clear();
    }
    unknown_.insert_or_assign(std::string(prefix), until);
}

Result<Authenticator::Cached> Authenticator::find_token(const RequestContext& context,
                                                        std::string_view prefix) {
    const auto asked_at = clock_.steady_now();
    std::uint64_t revocations = 0;
    {
        const MutexLock lock(mutex_);
        // A token that was good a moment ago is looked up whatever others try.
        if (!cache_.contains(prefix)) {
            MS_TRY_VOID(take_lookup());
        }
        revocations = revocations_;
    }
    MS_TRY(const auto token, catalogue_.find_token(context, prefix));
    if (!token.has_value() || token->revoked_us.has_value()) {
        remember_unknown(prefix);
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

Result<Principal> Authenticator::anybody(const std::vector<std::string>& organizations) const {
    Principal principal{.org = default_organization_.id,
                        .org_slug = default_organization_.slug,
                        .token_id = {},
                        .permissions = PermissionSet::all()};
    MS_TRY_VOID(check_organizations(organizations, principal));
    return principal;
}

Result<Principal> Authenticator::check(std::string_view text,
                                       Cached entry,
                                       const std::vector<std::string>& organizations) const {
    if (!equal_in_constant_time(sha256_hex(text), entry.secret_sha256_hex)) {
        return refused();
    }
    if (entry.expires_us.has_value() && clock_.now().value / 1000 >= *entry.expires_us) {
        return refused();
    }
    MS_TRY_VOID(check_organizations(organizations, entry.principal));
    return std::move(entry.principal);
}

std::optional<Result<Principal>> Authenticator::recall(
    std::optional<std::string_view> authorization, const std::vector<std::string>& organizations) {
    if (config_.mode == AuthMode::kNone) {
        return anybody(organizations);
    }
    const auto text = token_text(authorization);
    if (!text) {
        return text.error();
    }
    auto known = remembered(*token_prefix(*text));
    if (!known.has_value()) {
        return std::nullopt;
    }
    if (!*known) {
        return std::move(*known).error();
    }
    return check(*text, **std::move(known), organizations);
}

Result<Principal> Authenticator::authenticate(const RequestContext& context,
                                              std::optional<std::string_view> authorization,
                                              const std::vector<std::string>& organizations) {
    if (auto known = recall(authorization, organizations); known.has_value()) {
        return *std::move(known);
    }
    MS_TRY(const auto text, token_text(authorization));
    MS_TRY(auto entry, find_token(context, *token_prefix(text)));
    return check(text, std::move(entry), organizations);
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
    if (config_.mode != AuthMode::kToken) {
        return std::optional<std::string>();
    }
    // Of several processes that start at once, one makes the token.
    const auto lease = catalogue_.acquire_lease(
        context, kBootstrapLease, make_ulid(clock_.now(), random_), kBootstrapLeaseUs, "");
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
