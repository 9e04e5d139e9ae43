#include "query/sql/kernels/kernel_steps.h"

#include <duckdb/common/exception.hpp>
#include <duckdb/execution/expression_executor_state.hpp>
#include <duckdb/main/client_context.hpp>

namespace molesignal {

KernelSteps::KernelSteps(duckdb::ExpressionState& state)
    : interrupted_(state.GetContext().interrupted) {}

void KernelSteps::check() {
    steps_ = 0;
    if (interrupted_) {
        throw duckdb::InterruptException();
    }
}

}  // namespace molesignal
