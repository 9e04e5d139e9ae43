#pragma once

#include <cstdint>

#include "common/result.h"

namespace molesignal {

/// How the process ends. Part of the command line's promise to scripts; never renumbered.
enum class ExitCode : std::uint8_t {
    kOk = 0,
    kFailure = 1,
    kUsage = 2,     ///< Unknown command or option, or a value that is not allowed.
    kFindings = 3,  ///< A check ran and found something (`config check`, `wal verify`).
    kNotFound = 4,
    kAuth = 5,     ///< No credential, a wrong one, or one that may not do this.
    kPartial = 6,  ///< Some rows were rejected, or an answer is incomplete.
    kTimeout = 7,
    kTemporary = 75,     ///< Overloaded or unreachable: try again later.
    kInterrupted = 130,  ///< Ctrl-C.
};

/// The exit code for an error of ours.
ExitCode exit_code_of(const Error& error);

/// The exit code for an HTTP answer that is not a success.
ExitCode exit_code_of_status(int status);

}  // namespace molesignal
