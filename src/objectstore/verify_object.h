#pragma once

#include <string>
#include <string_view>

#include "objectstore/object_store.h"

namespace molesignal {

/// MD5 as 32 hexadecimal digits. For comparison with what a store says, not for security.
std::string md5_hex(Bytes bytes);

/// Whether the store has exactly `body` under `key`, after a put of it. kUnavailable: it has
/// something else or nothing; put again.
///
/// The size always has to agree. If the store gives a checksum (ObjectMeta::md5_hex), it is
/// compared; should it differ, the object is read back and decides, because stores that encrypt
/// with keys of a key service give something that only looks like one. A store without checksum is
/// believed for its size: reading each part back would double the traffic.
Result<> verify_object(const RequestContext& context,
                       ObjectStore& store,
                       std::string_view key,
                       Bytes body);

}  // namespace molesignal
