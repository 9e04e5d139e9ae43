#include "objectstore/verify_object.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

namespace molesignal {

std::string md5_hex(Bytes bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_md5(), nullptr) != 1) {
        return {};  // Not allowed on this machine (FIPS): then there is nothing to compare with.
    }
    std::string text;
    for (unsigned int i = 0; i < size; ++i) {
        text += fmt::format("{:02x}", digest[i]);
    }
    return text;
}

Result<> verify_object(const RequestContext& context,
                       ObjectStore& store,
                       std::string_view key,
                       Bytes body) {
    MS_TRY(const auto meta, store.head(context, key));
    if (!meta.has_value() || meta->size_bytes != body.size()) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("object {} has {} bytes after a put of {}",
                                 key,
                                 meta.has_value() ? meta->size_bytes : 0,
                                 body.size()));
    }
    if (meta->md5_hex.empty()) {
        return {};
    }
    const auto wanted = md5_hex(body);
    if (wanted.empty() || wanted == meta->md5_hex) {
        return {};
    }
    MS_TRY(const auto stored, store.get(context, key, 0, body.size()));
    if (!std::ranges::equal(stored, body)) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("object {} is not what was put: its bytes differ", key));
    }
    return {};
}

}  // namespace molesignal
