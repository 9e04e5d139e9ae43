#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/memory_budget.h"
#include "common/mutex.h"
#include "common/result.h"

namespace duckdb {
class Allocator;
}  // namespace duckdb

namespace molesignal {

/// What one query allocates, whoever allocates it for the query: DuckDB's buffers, which its own
/// memory_limit counts, and everything else, which it does not — vectors, strings that functions
/// make, the states of aggregates, plans (docs/decisions/0010-query-memory.md).
///
/// A thread works for a query inside a Scope; then operator new and DuckDB's allocators count here.
/// Above the limit a large allocation fails (DuckDB reports "out of memory"), and after a small one
/// the query is interrupted: DuckDB survives failures where it asks for much, not everywhere.
/// Thread-safe.
class QueryMemory {
public:
    /// `budget` may be null; it is charged with what the query takes, in steps.
    QueryMemory(std::int64_t bytes_max, std::shared_ptr<MemoryBudget> budget);
    ~QueryMemory();

    /// Starts counting from zero. `interrupted` is set to stop the query; it lives until `end`.
    void begin(std::atomic<bool>& interrupted);
    /// Gives back what was charged.
    void end();

    /// Counts `bytes`, or says no.
    bool charge(std::int64_t bytes);
    void release(std::int64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

    std::int64_t peak_bytes() const { return peak_.load(std::memory_order_relaxed); }
    /// The error of a query that was stopped for its memory.
    Result<> check() const;

    /// The calling thread works for `memory`; null: for nobody.
    class Scope {
    public:
        explicit Scope(QueryMemory* memory);
        ~Scope();
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        QueryMemory* outer_;
    };

    /// Makes DuckDB's default allocator count. Once in a process, before DuckDB is used.
    static void install();
    /// Whether operator new counts: not under sanitizers, which bring their own.
    static bool counts_operator_new();

private:
    bool charge_budget(std::int64_t used);
    void stop(bool of_process);

    const std::int64_t bytes_max_;
    const std::shared_ptr<MemoryBudget> budget_;
    std::atomic<std::int64_t> used_{0};
    std::atomic<std::int64_t> peak_{0};
    std::atomic<std::int64_t> charged_{0};  ///< On the budget.
    Mutex charge_mutex_;  ///< Of who charges the budget; nothing counts its allocations there.
    std::atomic<bool> query_limit_hit_{false};
    std::atomic<bool> process_limit_hit_{false};
    Mutex mutex_;  ///< Taken inside allocations, so nothing may allocate under it.
    std::atomic<bool>* interrupted_ MS_GUARDED_BY(mutex_) = nullptr;
};

/// An allocator for a DuckDB instance that counts like the default one.
std::unique_ptr<duckdb::Allocator> make_counting_allocator();

}  // namespace molesignal
