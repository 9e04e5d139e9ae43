#include "roles/owner_lease.h"

#include <fmt/format.h>

#include "common/failpoint.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(lease_before_take);
MS_DEFINE_FAILPOINT(lease_taken);
MS_DEFINE_FAILPOINT(lease_before_renew);
MS_DEFINE_FAILPOINT(lease_before_release);

constexpr std::string_view kLeaseName = "standalone";
constexpr std::uint64_t kIdBytesMax = 64;

}  // namespace

Result<std::string> load_node_id(FileSystem& fs,
                                 const std::string& path,
                                 Clock& clock,
                                 Random& random) {
    MS_TRY(const auto known, fs.exists(path));
    if (known) {
        MS_TRY(const auto content, read_file(fs, path, kIdBytesMax));
        if (!content.empty()) {
            return std::string(as_text(content));
        }
    }
    auto id = make_ulid(clock.now(), random);
    MS_TRY_VOID(write_file_atomically(fs, path, as_bytes(id)));
    return id;
}

OwnerLease::OwnerLease(Catalogue& catalogue,
                       const std::string& node_id,
                       const std::string& identity,
                       Random& random)
    : catalogue_(catalogue),
      directory_(identity.empty() ? std::string() : fmt::format("{}/{}/", node_id, identity)),
      holder_(fmt::format("{}/{}/{:016x}", node_id, identity, random.next_u64())) {}

Result<> OwnerLease::acquire(const RequestContext& context, std::string_view replaces) {
    const auto ttl = std::chrono::microseconds(kTime).count();
    MS_TRY(lease_, catalogue_.acquire_lease(context, kLeaseName, holder_, ttl, replaces));
    held_ = true;
    return {};
}

Result<> OwnerLease::take(const RequestContext& context) {
    MS_PASS_FAILPOINT(lease_before_take);
    auto taken = acquire(context, directory_);
    if (!taken && taken.error().code() == ErrorCode::kConflict) {
        return std::move(taken).error().wrap(
            fmt::format("another server uses the catalogue ({}); stop it, or wait {} s if it died",
                        catalogue_.describe(),
                        kTime.count()));
    }
    MS_TRY_VOID(std::move(taken));
    MS_PASS_FAILPOINT(lease_taken);
    return {};
}

Result<> OwnerLease::renew(const RequestContext& context) {
    MS_PASS_FAILPOINT(lease_before_renew);
    const auto epoch = lease_.epoch;
    MS_TRY_VOID(acquire(context, ""));
    if (lease_.epoch != epoch) {
        return Error(ErrorCode::kConflict,
                     "the catalogue had another owner since the lease was last renewed");
    }
    return {};
}

Result<> OwnerLease::release(const RequestContext& context) {
    if (!held_) {
        return {};
    }
    held_ = false;
    MS_PASS_FAILPOINT(lease_before_release);
    return catalogue_.release_lease(context, lease_);
}

}  // namespace molesignal
