#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace molesignal {

/// The seed of a random test: MS_TEST_SEED if set, else one from the machine. Printed, so that a
/// failure can be repeated.
std::uint64_t test_seed();

/// The environment variable `name`, or "" if it is not set.
std::string test_variable(const char* name);

/// Writes a figure for the row `promise` of docs/promises.md, as tests/support/promises.py does;
/// without MS_TEST_PROMISES_DIR nothing happens. `test`: the name of the test for ctest; one figure
/// of each.
void record_figure(std::string_view promise,
                   std::string_view test,
                   std::string_view figure,
                   std::optional<std::uint64_t> seed);

/// A directory of its own below the system's temporary folder, removed with all content at the end.
class TemporaryDirectory {
public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace molesignal
