#include "api/error_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ErrorForm, LimitsThatWaitingDoesNotFreeAreNotRetried) {
    for (const auto code : {ErrorCode::kTooLarge, ErrorCode::kLimitReached}) {
        EXPECT_FALSE(error_form(code).retryable);
        // gRPC clients retry 14 and, with RetryInfo, 8.
        EXPECT_NE(error_form(code).grpc_code, 14);
        EXPECT_NE(error_form(code).grpc_code, 8);
    }
    EXPECT_EQ(error_form(ErrorCode::kTooLarge).http_status, 413);
    EXPECT_EQ(error_form(ErrorCode::kLimitReached).http_status, 422);
    EXPECT_TRUE(error_form(ErrorCode::kResourceExhausted).retryable);
}

TEST(ErrorForm, WhatWentWrongInsideStaysInside) {
    for (const auto code : {ErrorCode::kInternal, ErrorCode::kCorruption}) {
        const auto shown = error_for_client(Error(code, "/data/secret.parquet: bad"), "r", "id");
        EXPECT_EQ(shown.code(), code);
        EXPECT_THAT(shown.message(), Not(HasSubstr("secret")));
        EXPECT_THAT(shown.message(), HasSubstr("request id"));
    }
    const auto useful = error_for_client(Error(ErrorCode::kNotFound, "no stream 'x'"), "r", "id");
    EXPECT_EQ(useful.message(), "no stream 'x'");
}

TEST(ErrorForm, FindsTheSettingThatALimitNames) {
    EXPECT_EQ(setting_named_in("the limit is 5 (http.body_bytes_max)"), "http.body_bytes_max");
    EXPECT_EQ(setting_named_in("memory of a.b: 7 wanted (memory.limit_mb), see x"),
              "memory.limit_mb");
    EXPECT_EQ(setting_named_in("no http.such_setting here."), "");
    EXPECT_EQ(setting_named_in("service.name http.body_bytes_max2"), "");
    EXPECT_EQ(setting_named_in(""), "");
}

}  // namespace
}  // namespace molesignal
