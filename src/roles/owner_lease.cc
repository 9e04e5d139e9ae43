#include "roles/owner_lease.h"

#include <fmt/format.h>

namespace molesignal {
namespace {

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

Result<> OwnerLease::acquire(const RequestContext& context) {
    const auto ttl = std::chrono::microseconds(kTime).count();
    MS_TRY(lease_, catalogue_.acquire_lease(context, kLeaseName, node_id_, ttl, ""));
    held_ = true;
    return {};
}

Result<> OwnerLease::take(const RequestContext& context) {
    auto taken = acquire(context);
    if (!taken && taken.error().code() == ErrorCode::kConflict) {
        return std::move(taken).error().wrap(
            fmt::format("another server uses the catalogue ({}); stop it, or wait {} s if it died",
                        catalogue_.describe(),
                        kTime.count()));
    }
    return taken;
}

Result<> OwnerLease::renew(const RequestContext& context) {
    const auto epoch = lease_.epoch;
    MS_TRY_VOID(acquire(context));
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
    return catalogue_.release_lease(context, lease_);
}

}  // namespace molesignal
