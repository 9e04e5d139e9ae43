#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace molesignal {

/// An array that grows while others read it: growing copies to a new place, and the old places are
/// kept until the array dies, so that a pointer handed out stays good. Growing fourfold keeps what
/// is kept below a third of what is used.
///
/// One thread writes; readers see what was there when they got pointer and size.
template <class T>
class GrowingArray {
public:
    T* data() { return data_; }
    const T* data() const { return data_; }
    std::uint32_t capacity() const { return capacity_; }

    /// Makes room for `wanted` elements, of which `used` are copied; at most `limit` will ever be
    /// asked for. Returns the bytes that were allocated.
    std::uint64_t reserve(std::uint32_t wanted, std::uint32_t used, std::uint32_t limit) {
        if (wanted <= capacity_) {
            return 0;
        }
        constexpr std::uint32_t kSmallest = 16;
        const auto* before = data_;
        const auto bytes = renew(std::min(limit, std::max({wanted, kSmallest, capacity_ * 4})));
        std::copy_n(before, used, data_);
        return bytes;
    }

    /// Takes a new place of `capacity` elements, all unset; what was there stays readable by its
    /// old pointer. Returns the bytes that were allocated.
    std::uint64_t renew(std::uint32_t capacity) {
        places_.push_back(std::make_unique_for_overwrite<T[]>(capacity));
        data_ = places_.back().get();
        capacity_ = capacity;
        return capacity * sizeof(T);
    }

private:
    T* data_ = nullptr;
    std::uint32_t capacity_ = 0;
    std::vector<std::unique_ptr<T[]>> places_;
};

}  // namespace molesignal
