#include "app/exit_codes.h"

namespace molesignal {

ExitCode exit_code_of(const Error& error) {
    switch (error.code()) {
        case ErrorCode::kInvalidArgument:
            return ExitCode::kUsage;
        case ErrorCode::kNotFound:
            return ExitCode::kNotFound;
        case ErrorCode::kUnauthenticated:
        case ErrorCode::kForbidden:
            return ExitCode::kAuth;
        case ErrorCode::kResourceExhausted:
        case ErrorCode::kUnavailable:
            return ExitCode::kTemporary;
        case ErrorCode::kTimeout:
            return ExitCode::kTimeout;
        case ErrorCode::kCancelled:
            return ExitCode::kInterrupted;
        case ErrorCode::kConflict:
        case ErrorCode::kCorruption:
        case ErrorCode::kInternal:
        case ErrorCode::kTooLarge:
        case ErrorCode::kLimitReached:
            return ExitCode::kFailure;
    }
    return ExitCode::kFailure;
}

ExitCode exit_code_of_status(int status) {
    switch (status) {
        case 401:
        case 403:
            return ExitCode::kAuth;
        case 404:
            return ExitCode::kNotFound;
        case 408:
        case 504:
            return ExitCode::kTimeout;
        case 429:
        case 502:
        case 503:
            return ExitCode::kTemporary;
        default:
            return ExitCode::kFailure;
    }
}

}  // namespace molesignal
