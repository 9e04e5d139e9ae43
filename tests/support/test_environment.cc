#include "tests/support/test_environment.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>

#include <fmt/format.h>

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

void record_figure(std::string_view promise,
                   std::string_view test,
                   std::string_view figure,
                   std::optional<std::uint64_t> seed) {
    const std::filesystem::path folder = test_variable("MS_TEST_PROMISES_DIR");
    if (folder.empty()) {
        return;
    }
    std::filesystem::create_directories(folder);
    auto name = fmt::format("{}.{}.json", promise, test);
    std::ranges::replace(name, '/', '-');
    char date[16] = {};
    const auto now = std::time(nullptr);
    std::tm parts{};
    (void)std::strftime(date, sizeof date, "%Y-%m-%d", ::gmtime_r(&now, &parts));
    std::ofstream out(folder / name);
    out << fmt::format(
               R"({{"promise": "{}", "test": "{}", "figure": "{}", "date": "{}", "seed": {}}})",
               promise,
               test,
               figure,
               date,
               seed.has_value() ? fmt::format("{}", *seed) : "null")
        << "\n";
    MS_ASSERT(out.good());
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
