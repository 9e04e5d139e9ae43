#include "tests/support/data_driven.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class DataDriven : public testing::Test {
protected:
    std::string write(const std::string& text) {
        const auto path = directory_.path() + "/script.txt";
        std::ofstream(path) << text;
        return path;
    }
    static std::string read(const std::string& path) {
        std::ostringstream text;
        text << std::ifstream(path).rdbuf();
        return text.str();
    }
    TemporaryDirectory directory_;
};

std::string echo(const DataCommand& command) {
    auto text = command.name;
    for (const auto& [key, value] : command.arguments) {
        text += "|" + key + "=" + value;
    }
    return text + "\n" + command.input_text();
}

TEST_F(DataDriven, ParsesArgumentsAndInput) {
    const auto path = write(
        "# comment\n\nput a=1 b=\"two words\" flag\nline 1\nline 2\n----\n"
        "put|a=1|b=two words|flag=\nline 1\nline 2\n\nempty\n----\nempty\n");
    EXPECT_EQ(run_data_driven(path, echo, DataDrivenMode::kCompare), "");
}

TEST_F(DataDriven, ReportsWhatDiffersWithFileAndLine) {
    const auto path = write("one\n----\none\n\ntwo\n----\nwrong\n");
    const auto report = run_data_driven(path, echo, DataDrivenMode::kCompare);
    EXPECT_EQ(report, path + ":5: two\nexpected:\nwrong\nactual:\ntwo\n\n");
    EXPECT_EQ(read(path), "one\n----\none\n\ntwo\n----\nwrong\n");
}

TEST_F(DataDriven, RewriteMakesTheScriptTrueAndKeepsCommentsAndInput) {
    const auto path = write("# why\none k=v\nin\n----\n\n# next\ntwo\n----\nwrong\n");
    EXPECT_EQ(run_data_driven(path, echo, DataDrivenMode::kRewrite), "");
    EXPECT_EQ(read(path), "# why\none k=v\nin\n----\none|k=v\nin\n\n# next\ntwo\n----\ntwo\n");
    EXPECT_EQ(run_data_driven(path, echo, DataDrivenMode::kCompare), "");
}

TEST_F(DataDriven, OutputWithEmptyLinesIsFramed) {
    const auto gaps = [](const DataCommand&) { return std::string("a\n\nb"); };
    const auto path = write("gaps\n----\n\nother\n----\n");
    EXPECT_EQ(run_data_driven(path, gaps, DataDrivenMode::kRewrite), "");
    EXPECT_EQ(read(path),
              "gaps\n----\n----\na\n\nb\n----\n----\n\n"
              "other\n----\n----\na\n\nb\n----\n----\n");
    EXPECT_EQ(run_data_driven(path, gaps, DataDrivenMode::kCompare), "");
}

TEST_F(DataDriven, MalformedScriptIsReportedAndNotRewritten) {
    const std::string text = "one\n----\none\n\ntwo without separator\n";
    const auto path = write(text);
    EXPECT_NE(run_data_driven(path, echo, DataDrivenMode::kRewrite), "");
    EXPECT_EQ(read(path), text);
    EXPECT_NE(run_data_driven(path + ".missing", echo, DataDrivenMode::kCompare), "");
}

TEST_F(DataDriven, NumbersAndDefaults) {
    const DataCommand command{
        .name = "x", .arguments = {{"n", "-12"}, {"s", "text"}}, .input = {}, .line = 1};
    EXPECT_EQ(command.number("n"), -12);
    EXPECT_EQ(command.number("m", 5), 5);
    EXPECT_EQ(command.text("s"), "text");
    EXPECT_EQ(command.text("t", "else"), "else");
    EXPECT_DEATH((void)command.number("s"), "error");
}

}  // namespace
}  // namespace molesignal
