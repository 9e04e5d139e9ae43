#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace molesignal {

/// What a route needs of a credential.
enum class Permission : std::uint8_t {
    kPublic = 0,  ///< No credential at all.
    kIngest = 1,
    kQuery = 2,
    kAdmin = 3,  ///< Streams, tokens; does not include the others.
};

/// "public", "ingest", "query", "admin".
constexpr std::string_view permission_name(Permission permission) {
    switch (permission) {
        case Permission::kPublic:
            return "public";
        case Permission::kIngest:
            return "ingest";
        case Permission::kQuery:
            return "query";
        case Permission::kAdmin:
            return "admin";
    }
    return "unknown";
}

/// The permission that a token may hold under this name: ingest, query or admin.
constexpr std::optional<Permission> parse_permission(std::string_view name) {
    for (const auto permission : {Permission::kIngest, Permission::kQuery, Permission::kAdmin}) {
        if (name == permission_name(permission)) {
            return permission;
        }
    }
    return std::nullopt;
}

/// A set of permissions.
class PermissionSet {
public:
    constexpr PermissionSet() = default;
    static constexpr PermissionSet all() {
        PermissionSet set;
        set.add(Permission::kIngest);
        set.add(Permission::kQuery);
        set.add(Permission::kAdmin);
        return set;
    }
    constexpr void add(Permission permission) { bits_ |= bit(permission); }
    constexpr bool has(Permission permission) const {
        return permission == Permission::kPublic || (bits_ & bit(permission)) != 0;
    }
    constexpr bool empty() const { return bits_ == 0; }
    friend constexpr bool operator==(const PermissionSet&, const PermissionSet&) = default;

private:
    static constexpr std::uint8_t bit(Permission permission) {
        return static_cast<std::uint8_t>(1U << static_cast<unsigned>(permission));
    }
    std::uint8_t bits_ = 0;
};

}  // namespace molesignal
