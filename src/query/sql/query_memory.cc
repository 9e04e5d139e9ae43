#include "query/sql/query_memory.h"

#include <cstdlib>
#include <mutex>
#include <new>

#include <duckdb/common/allocator.hpp>
#include <fmt/format.h>
#include <malloc.h>

// Sanitizers bring their own operator new.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MS_SANITIZER_ALLOCATES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MS_SANITIZER_ALLOCATES
#endif
#endif

namespace molesignal {
namespace {

/// Smaller allocations do not fail: they interrupt the query.
constexpr std::int64_t kFailingBytesMin = 64LL << 10;
constexpr std::int64_t kBudgetStepBytes = 1LL << 20;

thread_local QueryMemory* current_memory = nullptr;

duckdb::data_ptr_t allocate(duckdb::PrivateAllocatorData*, duckdb::idx_t size) {
    if (current_memory != nullptr && !current_memory->charge(static_cast<std::int64_t>(size))) {
        return nullptr;
    }
    return duckdb::Allocator::DefaultAllocate(nullptr, size);
}

void free_bytes(duckdb::PrivateAllocatorData*, duckdb::data_ptr_t pointer, duckdb::idx_t size) {
    if (current_memory != nullptr) {
        current_memory->release(static_cast<std::int64_t>(size));
    }
    duckdb::Allocator::DefaultFree(nullptr, pointer, size);
}

duckdb::data_ptr_t reallocate(duckdb::PrivateAllocatorData*,
                              duckdb::data_ptr_t pointer,
                              duckdb::idx_t old_size,
                              duckdb::idx_t size) {
    const auto growth = static_cast<std::int64_t>(size) - static_cast<std::int64_t>(old_size);
    if (current_memory != nullptr && !current_memory->charge(growth)) {
        return nullptr;
    }
    return duckdb::Allocator::DefaultReallocate(nullptr, pointer, old_size, size);
}

}  // namespace

std::unique_ptr<duckdb::Allocator> make_counting_allocator() {
    return std::make_unique<duckdb::Allocator>(allocate, free_bytes, reallocate, nullptr);
}

QueryMemory::QueryMemory(std::int64_t bytes_max, std::shared_ptr<MemoryBudget> budget)
    : bytes_max_(bytes_max), budget_(std::move(budget)) {}

QueryMemory::~QueryMemory() {
    end();
}

void QueryMemory::install() {
    static std::once_flag once;
    std::call_once(once, [] {
        // What was allocated before is freed by the allocator that made it, so that one stays.
        static const auto former = duckdb::Allocator::DefaultAllocatorReference();
        duckdb::Allocator::DefaultAllocatorReference() =
            duckdb::make_shared_ptr<duckdb::Allocator>(allocate, free_bytes, reallocate, nullptr);
    });
}

bool QueryMemory::counts_operator_new() {
#if defined(MS_SANITIZER_ALLOCATES)
    return false;
#else
    return true;
#endif
}

void QueryMemory::begin(std::atomic<bool>& interrupted) {
    used_ = 0;
    peak_ = 0;
    query_limit_hit_ = false;
    process_limit_hit_ = false;
    const MutexLock lock(mutex_);
    interrupted_ = &interrupted;
}

void QueryMemory::end() {
    {
        const MutexLock lock(mutex_);
        interrupted_ = nullptr;
    }
    if (const auto charged = charged_.exchange(0); charged > 0) {
        budget_->release(charged);
    }
}

bool QueryMemory::charge(std::int64_t bytes) {
    const auto used = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (bytes <= 0) {
        return true;
    }
    bool fits = used <= bytes_max_;
    if (!fits) {
        stop(false);
    } else if (budget_ != nullptr && used > charged_.load(std::memory_order_relaxed) &&
               !charge_budget(used)) {
        fits = false;
        stop(true);
    }
    if (!fits && bytes >= kFailingBytesMin) {
        used_.fetch_sub(bytes, std::memory_order_relaxed);
        return false;
    }
    for (auto peak = peak_.load(std::memory_order_relaxed);
         used > peak && !peak_.compare_exchange_weak(peak, used, std::memory_order_relaxed);) {
    }
    return true;
}

bool QueryMemory::charge_budget(std::int64_t used) {
    const Scope uncounted(nullptr);  // The budget's error is text.
    // One thread at a time: two would reserve the same megabytes twice for a moment.
    const MutexLock lock(charge_mutex_);
    const auto missing = used - charged_.load();
    if (missing <= 0) {
        return true;
    }
    const auto step = (missing + kBudgetStepBytes - 1) / kBudgetStepBytes * kBudgetStepBytes;
    if (!budget_->reserve(step)) {
        return false;
    }
    charged_.fetch_add(step);
    return true;
}

void QueryMemory::stop(bool of_process) {
    (of_process ? process_limit_hit_ : query_limit_hit_).store(true);
    const MutexLock lock(mutex_);
    if (interrupted_ != nullptr) {
        interrupted_->store(true);
    }
}

Result<> QueryMemory::check() const {
    if (query_limit_hit_) {
        return Error(ErrorCode::kLimitReached,
                     fmt::format("the query needs more than {} MiB of memory (query.memory_mb)",
                                 bytes_max_ >> 20));
    }
    if (process_limit_hit_) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("the query took {} MiB of memory, and there is no more for all "
                                 "that runs (memory.limit_mb)",
                                 peak_.load() >> 20));
    }
    return {};
}

QueryMemory::Scope::Scope(QueryMemory* memory) : outer_(current_memory) {
    current_memory = memory;
}

QueryMemory::Scope::~Scope() {
    current_memory = outer_;
}

}  // namespace molesignal

// The process's operator new, so that whatever DuckDB keeps outside its own allocators (states of
// aggregates, plans, values) counts too. Threads that work for no query pay one comparison.
#if !defined(MS_SANITIZER_ALLOCATES)
namespace {

void* counted_new(std::size_t size) noexcept {
    void* pointer = std::malloc(size > 0 ? size : 1);
    if (pointer != nullptr && molesignal::current_memory != nullptr &&
        !molesignal::current_memory->charge(
            static_cast<std::int64_t>(::malloc_usable_size(pointer)))) {
        std::free(pointer);
        return nullptr;
    }
    return pointer;
}

void counted_delete(void* pointer) noexcept {
    if (pointer != nullptr && molesignal::current_memory != nullptr) {
        molesignal::current_memory->release(
            static_cast<std::int64_t>(::malloc_usable_size(pointer)));
    }
    std::free(pointer);
}

}  // namespace

void* operator new(std::size_t size) {
    void* pointer = counted_new(size);
    if (pointer == nullptr) {
        throw std::bad_alloc();
    }
    return pointer;
}
void* operator new[](std::size_t size) {
    return operator new(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return counted_new(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return counted_new(size);
}
void operator delete(void* pointer) noexcept {
    counted_delete(pointer);
}
void operator delete[](void* pointer) noexcept {
    counted_delete(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
    counted_delete(pointer);
}
void operator delete[](void* pointer, std::size_t) noexcept {
    counted_delete(pointer);
}
void operator delete(void* pointer, const std::nothrow_t&) noexcept {
    counted_delete(pointer);
}
void operator delete[](void* pointer, const std::nothrow_t&) noexcept {
    counted_delete(pointer);
}
#endif
