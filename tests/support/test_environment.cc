#include "tests/support/test_environment.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "common/assert.h"

namespace molesignal {

std::uint64_t test_seed() {
    const auto given = test_variable("MS_TEST_SEED");
    std::uint64_t seed = 0;
    if (given.empty()) {
        std::random_device device;
        seed = device();
    } else {
        seed = std::strtoull(given.c_str(), nullptr, 10);
    }
    std::printf("MS_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

std::string test_variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

TemporaryDirectory::TemporaryDirectory() {
    path_ = (std::filesystem::temp_directory_path() / "ms-test-XXXXXX").string();
    MS_ASSERT(::mkdtemp(path_.data()) != nullptr);
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace molesignal
