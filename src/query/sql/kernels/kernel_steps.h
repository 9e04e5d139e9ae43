#pragma once

#include <atomic>
#include <cstdint>

namespace duckdb {
struct ExpressionState;
}  // namespace duckdb

namespace molesignal {

/// Counts the work of a function over a vector and looks for an interrupt every so much of it:
/// DuckDB looks between vectors only, and a vector of long texts may take minutes.
class KernelSteps {
public:
    explicit KernelSteps(duckdb::ExpressionState& state);

    /// `steps` of about a nanosecond. Throws DuckDB's InterruptException.
    void count(std::uint64_t steps) {
        steps_ += steps;
        if (steps_ >= kStepsBetweenChecks) {
            check();
        }
    }

private:
    static constexpr std::uint64_t kStepsBetweenChecks = 10'000'000;
    void check();

    const std::atomic<bool>& interrupted_;
    std::uint64_t steps_ = 0;
};

}  // namespace molesignal
