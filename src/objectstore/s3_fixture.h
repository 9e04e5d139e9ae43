#pragma once

#include <memory>

#include <gtest/gtest.h>

#include "objectstore/s3_object_store.h"
#include "tests/support/test_environment.h"

namespace molesignal {

/// Holds the S3 library for the test program: started by the first test that needs it, ended before
/// main returns.
class S3LibraryEnvironment final : public testing::Environment {
public:
    void TearDown() override { library().reset(); }

    static std::unique_ptr<S3Library>& library() {
        static std::unique_ptr<S3Library> instance;
        return instance;
    }
};

inline void ensure_s3_library() {
    static auto* const registered = testing::AddGlobalTestEnvironment(new S3LibraryEnvironment());
    (void)registered;
    if (S3LibraryEnvironment::library() == nullptr) {
        S3LibraryEnvironment::library() = S3Library::start().value();
    }
}

/// The server that tests/support/s3_server.py has started; without an endpoint there is none.
inline S3Options s3_test_options() {
    return {.endpoint = test_variable("MS_TEST_S3_ENDPOINT"),
            .bucket = test_variable("MS_TEST_S3_BUCKET"),
            .access_key = test_variable("MS_TEST_S3_ACCESS_KEY"),
            .secret_key = test_variable("MS_TEST_S3_SECRET_KEY")};
}

}  // namespace molesignal
