#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"

namespace molesignal {

/// One case of a data-driven script.
struct DataCommand {
    std::string name;
    /// `key=value` and `key` (empty value), in the order of the script. A value with spaces stands
    /// in double quotes.
    std::vector<std::pair<std::string, std::string>> arguments;
    std::vector<std::string> input;  ///< The lines between the command and `----`.
    int line = 0;                    ///< Of the command, from 1.

    bool has(std::string_view key) const;
    /// The value of `key`, or `otherwise`.
    std::string text(std::string_view key, std::string_view otherwise = "") const;
    /// The number of `key`, or `otherwise`. Aborts if it is not a number: a broken script.
    std::int64_t number(std::string_view key, std::int64_t otherwise = 0) const;
    /// The input lines, each with a line end.
    std::string input_text() const;
};

enum class DataDrivenMode : std::uint8_t {
    kCompare = 1,
    kRewrite = 2,  ///< Puts the actual outputs into the file.
};

/// kRewrite if the program got `--rewrite` or the environment has MS_TEST_REWRITE=1.
DataDrivenMode data_driven_mode();

/// Runs the script `path` and returns "" if every output was as expected (or is now, with
/// kRewrite), else what differs, for EXPECT_EQ(run_data_driven(…), "").
///
/// A script is a row of cases, apart by empty lines; lines with '#' in front of a case are
/// comments:
///
///     command key=value other="two words"
///     input lines
///     ----
///     expected output
///
/// The expected output ends at an empty line. One that has empty lines itself begins with a second
/// `----` and ends with two of them. `run` returns the output of one case; a missing line end is
/// added. Sharing state between the cases of a file is the purpose.
std::string run_data_driven(const std::string& path,
                            const std::function<std::string(const DataCommand&)>& run,
                            DataDrivenMode mode = data_driven_mode());

/// The files below `directory` (relative to the repository) that end in `suffix`, sorted.
std::vector<std::string> data_driven_files(const std::string& directory,
                                           std::string_view suffix = ".txt");

}  // namespace molesignal
