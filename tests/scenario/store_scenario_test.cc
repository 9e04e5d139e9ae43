// Scripts of tests/scenario/store.
#include "tests/scenario/store_scenario.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

class StoreScenario : public ::testing::TestWithParam<std::string> {};

TEST_P(StoreScenario, Script) {
    StoreScript script;
    EXPECT_EQ(run_data_driven(GetParam(),
                              [&](const DataCommand& command) { return script.run(command); }),
              "");
}

INSTANTIATE_TEST_SUITE_P(Files,
                         StoreScenario,
                         ::testing::ValuesIn(data_driven_files("tests/scenario/store")),
                         [](const auto& info) { return fmt::format("{}", info.index); });

}  // namespace
}  // namespace molesignal
