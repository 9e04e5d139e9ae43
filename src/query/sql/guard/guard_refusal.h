#pragma once

#include <string>

#include "common/result.h"

namespace molesignal {

/// Thrown by the guard's sources only, and caught in guard_statement: the walk is recursive through
/// DuckDB's callbacks.
struct Refused {
    Error error;
};

[[noreturn]] inline void refuse(ErrorCode code, std::string message) {
    throw Refused{Error(code, std::move(message))};
}

}  // namespace molesignal
