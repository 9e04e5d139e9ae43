#include "io/process_memory.h"

#include <cstdlib>
#include <vector>

#include <gtest/gtest.h>

#if !defined(__has_feature)
#define __has_feature(feature) 0
#endif

namespace molesignal {
namespace {

TEST(ProcessMemory, WhatIsFreedGoesBack) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    GTEST_SKIP() << "a sanitizer's allocator keeps what is freed";
#endif
    // Small pieces, so that they come from the heap.
    constexpr std::size_t kPieces = 1U << 20U;
    constexpr std::size_t kPieceBytes = 64;
    const auto before = resident_bytes();
    ASSERT_GT(before, 1U << 20U);
    std::vector<void*> pieces(kPieces);
    for (auto& piece : pieces) {
        piece = std::calloc(1, kPieceBytes);
    }
    const auto full = resident_bytes();
    EXPECT_GT(full, before + kPieces * kPieceBytes);
    auto* const keeps_the_heap_from_shrinking = std::malloc(kPieceBytes);
    for (auto* piece : pieces) {
        std::free(piece);
    }
    release_free_memory();
    EXPECT_LT(resident_bytes(), full - kPieces * kPieceBytes / 2);
    std::free(keeps_the_heap_from_shrinking);
}

}  // namespace
}  // namespace molesignal
