#include "compaction/verify_part.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace molesignal {

ObjectVerification::ObjectVerification(ObjectStore& objects, PartObject object)
    : objects_(objects), object_(std::move(object)) {}

Error ObjectVerification::damaged(std::string_view what) const {
    return Error(ErrorCode::kCorruption, fmt::format("object {}: {}", object_.key, what));
}

Result<std::uint64_t> ObjectVerification::read_next(const RequestContext& context,
                                                    std::uint64_t bytes_max) {
    const auto size = static_cast<std::uint64_t>(object_.bytes);
    const auto left = size - offset_;
    // The last read asks for one byte more than there should be: a longer object is another one.
    const bool is_last = left <= bytes_max;
    const auto wanted = is_last ? left + 1 : bytes_max;
    auto got = objects_.get(context, object_.key, offset_, wanted);
    if (!got) {
        const auto code = got.error().code();
        if (code == ErrorCode::kNotFound) {
            return damaged("it is missing");
        }
        if (code == ErrorCode::kInvalidArgument && offset_ > 0) {
            return damaged(fmt::format("it is shorter than {} bytes", size));
        }
        return std::move(got).error();
    }
    if (got->size() > left) {
        return damaged(fmt::format("it is longer than {} bytes", size));
    }
    if (got->size() < std::min(wanted, left)) {
        return damaged(
            fmt::format("it has {} bytes, the catalogue says {}", offset_ + got->size(), size));
    }
    hash_.update(*got);
    offset_ += got->size();
    if (is_last) {
        is_done_ = true;
        if (hash_.digest() != object_.xxh3) {
            return damaged("its hash is not the catalogue's");
        }
    }
    return got->size();
}

}  // namespace molesignal
