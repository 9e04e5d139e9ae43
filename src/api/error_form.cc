#include "api/error_form.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "common/assert.h"
#include "common/log.h"
#include "config/setting.h"

namespace molesignal {
namespace {

// Statuses of gRPC. OTLP clients retry UNAVAILABLE; on RESOURCE_EXHAUSTED many drop their data.
constexpr int kGrpcCancelled = 1;
constexpr int kGrpcInvalidArgument = 3;
constexpr int kGrpcDeadlineExceeded = 4;
constexpr int kGrpcNotFound = 5;
constexpr int kGrpcPermissionDenied = 7;
constexpr int kGrpcFailedPrecondition = 9;
constexpr int kGrpcAborted = 10;
constexpr int kGrpcInternal = 13;
constexpr int kGrpcUnavailable = 14;
constexpr int kGrpcDataLoss = 15;
constexpr int kGrpcUnauthenticated = 16;

// clang-format off
constexpr std::array kForms = {
    ErrorForm{ErrorCode::kInvalidArgument,   "invalid_argument",   400, kGrpcInvalidArgument,    false},
    ErrorForm{ErrorCode::kNotFound,          "not_found",          404, kGrpcNotFound,           false},
    ErrorForm{ErrorCode::kConflict,          "conflict",           409, kGrpcAborted,            false},
    ErrorForm{ErrorCode::kUnauthenticated,   "unauthorized",       401, kGrpcUnauthenticated,    false},
    ErrorForm{ErrorCode::kForbidden,         "forbidden",          403, kGrpcPermissionDenied,   false},
    ErrorForm{ErrorCode::kResourceExhausted, "resource_exhausted", 429, kGrpcUnavailable,        true},
    ErrorForm{ErrorCode::kUnavailable,       "unavailable",        503, kGrpcUnavailable,        true},
    ErrorForm{ErrorCode::kTimeout,           "timeout",            504, kGrpcDeadlineExceeded,   true},
    ErrorForm{ErrorCode::kCancelled,         "cancelled",          499, kGrpcCancelled,          false},
    ErrorForm{ErrorCode::kCorruption,        "corruption",         500, kGrpcDataLoss,           false},
    ErrorForm{ErrorCode::kInternal,          "internal",           500, kGrpcInternal,           false},
    ErrorForm{ErrorCode::kTooLarge,          "too_large",          413, kGrpcInvalidArgument,    false},
    ErrorForm{ErrorCode::kLimitReached,      "limit_reached",      422, kGrpcFailedPrecondition, false},
};
// clang-format on

constexpr bool in_order_of_codes() {
    for (std::size_t i = 0; i < kForms.size(); ++i) {
        if (static_cast<std::size_t>(kForms[i].code) != i + 1) {
            return false;
        }
    }
    return true;
}
static_assert(in_order_of_codes(), "error_form finds a row by its code");

bool part_of_key(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

}  // namespace

const ErrorForm& error_form(ErrorCode code) {
    const auto index = static_cast<std::size_t>(code) - 1;
    MS_ASSERT(index < kForms.size());
    return kForms[index];
}

Error error_for_client(const Error& error, std::string_view route, std::string_view request_id) {
    const bool damaged = error.code() == ErrorCode::kCorruption;
    if (!damaged && error.code() != ErrorCode::kInternal) {
        return error;
    }
    log_error("a request failed",
              {{"route", route}, {"request_id", request_id}, {"error", error.message()}});
    return {error.code(),
            damaged ? "stored data is damaged; the server's log has it under this request id"
                    : "an internal error; the server's log has it under this request id"};
}

std::string_view setting_named_in(std::string_view message) {
    while (!message.empty()) {
        const auto* const begin = std::ranges::find_if(message, part_of_key);
        const auto* const end = std::find_if_not(begin, message.end(), part_of_key);
        const std::string_view word(begin, static_cast<std::size_t>(end - begin));
        if (word.find('.') != std::string_view::npos) {
            if (const auto* setting = find_setting(word); setting != nullptr) {
                return setting->key;
            }
        }
        message.remove_prefix(static_cast<std::size_t>(end - message.begin()));
    }
    return {};
}

}  // namespace molesignal
