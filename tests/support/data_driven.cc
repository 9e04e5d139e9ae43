#include "tests/support/data_driven.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "common/assert.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::string_view kSeparator = "----";

std::vector<std::string> split_lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(std::move(line));
    }
    return lines;
}

std::string join_lines(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) {
        text += line + "\n";
    }
    return text;
}

/// Splits at spaces outside double quotes; the quotes are dropped.
std::vector<std::string> split_words(std::string_view line) {
    std::vector<std::string> words;
    std::string word;
    bool quoted = false;
    bool begun = false;
    for (const char c : line) {
        if (c == '"') {
            quoted = !quoted;
            begun = true;
        } else if (c == ' ' && !quoted) {
            if (begun) {
                words.push_back(std::exchange(word, {}));
            }
            begun = false;
        } else {
            word += c;
            begun = true;
        }
    }
    if (begun) {
        words.push_back(std::move(word));
    }
    return words;
}

DataCommand parse_command(std::string_view line, int number) {
    DataCommand command;
    command.line = number;
    auto words = split_words(line);
    MS_ASSERT(!words.empty());
    command.name = std::move(words.front());
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto equals = words[i].find('=');
        command.arguments.emplace_back(
            words[i].substr(0, equals),
            equals == std::string::npos ? std::string() : words[i].substr(equals + 1));
    }
    return command;
}

/// Goes through a script, runs its cases and writes the script anew.
class Script {
public:
    Script(std::string path, std::vector<std::string> lines)
        : path_(std::move(path)), lines_(std::move(lines)) {}

    void run(const std::function<std::string(const DataCommand&)>& call) {
        while (at_ < lines_.size()) {
            if (lines_[at_].empty() || lines_[at_].starts_with('#')) {
                rewritten_.push_back(lines_[at_++]);
            } else if (!run_case(call)) {
                return;
            }
        }
    }
    const std::string& differences() const { return differences_; }
    const std::vector<std::string>& rewritten() const { return rewritten_; }
    bool is_malformed() const { return malformed_; }

private:
    bool run_case(const std::function<std::string(const DataCommand&)>& call) {
        auto command = parse_command(lines_[at_], static_cast<int>(at_ + 1));
        rewritten_.push_back(lines_[at_++]);
        while (at_ < lines_.size() && lines_[at_] != kSeparator) {
            command.input.push_back(lines_[at_]);
            rewritten_.push_back(lines_[at_++]);
        }
        if (at_ == lines_.size()) {
            return fail_malformed(command, "no ---- after the command");
        }
        ++at_;
        std::vector<std::string> expected;
        if (!read_expected(expected)) {
            return fail_malformed(command, "no two ---- at the end of an output with empty lines");
        }
        const auto actual = split_lines(call(command));
        if (actual != expected) {
            differences_ += fmt::format("{}:{}: {}\nexpected:\n{}actual:\n{}\n",
                                        path_,
                                        command.line,
                                        command.name,
                                        join_lines(expected),
                                        join_lines(actual));
        }
        write_output(actual);
        return true;
    }

    bool read_expected(std::vector<std::string>& expected) {
        if (at_ < lines_.size() && lines_[at_] == kSeparator) {
            for (++at_; at_ + 1 < lines_.size(); ++at_) {
                if (lines_[at_] == kSeparator && lines_[at_ + 1] == kSeparator) {
                    at_ += 2;
                    return true;
                }
                expected.push_back(lines_[at_]);
            }
            return false;
        }
        while (at_ < lines_.size() && !lines_[at_].empty()) {
            expected.push_back(lines_[at_++]);
        }
        return true;
    }

    void write_output(const std::vector<std::string>& actual) {
        rewritten_.emplace_back(kSeparator);
        const bool framed = std::ranges::any_of(actual, &std::string::empty) ||
                            (!actual.empty() && actual.front() == kSeparator);
        if (framed) {
            rewritten_.emplace_back(kSeparator);
        }
        rewritten_.insert(rewritten_.end(), actual.begin(), actual.end());
        if (framed) {
            rewritten_.emplace_back(kSeparator);
            rewritten_.emplace_back(kSeparator);
        }
    }

    bool fail_malformed(const DataCommand& command, std::string_view why) {
        differences_ += fmt::format("{}:{}: {}: {}\n", path_, command.line, command.name, why);
        malformed_ = true;
        return false;
    }

    std::string path_;
    std::vector<std::string> lines_;
    std::size_t at_ = 0;
    std::vector<std::string> rewritten_;
    std::string differences_;
    bool malformed_ = false;
};

}  // namespace

bool DataCommand::has(std::string_view key) const {
    return std::ranges::any_of(arguments,
                               [key](const auto& argument) { return argument.first == key; });
}

std::string DataCommand::text(std::string_view key, std::string_view otherwise) const {
    for (const auto& [name_of, value] : arguments) {
        if (name_of == key) {
            return value;
        }
    }
    return std::string(otherwise);
}

std::int64_t DataCommand::number(std::string_view key, std::int64_t otherwise) const {
    if (!has(key)) {
        return otherwise;
    }
    const auto value = text(key);
    std::int64_t parsed = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
    MS_ASSERT(error == std::errc());
    MS_ASSERT(end == value.data() + value.size());
    return parsed;
}

std::string DataCommand::input_text() const {
    return join_lines(input);
}

DataDrivenMode data_driven_mode() {
    if (test_variable("MS_TEST_REWRITE") == "1") {
        return DataDrivenMode::kRewrite;
    }
    // The test framework owns main and leaves unknown flags alone.
    std::ifstream arguments("/proc/self/cmdline", std::ios::binary);
    for (std::string argument; std::getline(arguments, argument, '\0');) {
        if (argument == "--rewrite") {
            return DataDrivenMode::kRewrite;
        }
    }
    return DataDrivenMode::kCompare;
}

std::string run_data_driven(const std::string& path,
                            const std::function<std::string(const DataCommand&)>& run,
                            DataDrivenMode mode) {
    std::ifstream in(path, std::ios::binary);
    if (!in) {
        return path + ": cannot be read\n";
    }
    std::ostringstream text;
    text << in.rdbuf();
    Script script(path, split_lines(text.str()));
    script.run(run);
    if (mode == DataDrivenMode::kCompare || script.is_malformed()) {
        return script.differences();
    }
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << join_lines(script.rewritten());
    return out.flush() ? "" : path + ": cannot be written\n";
}

std::vector<std::string> data_driven_files(const std::string& directory, std::string_view suffix) {
    const auto root = test_variable("MS_SOURCE_DIR");
    const auto base = std::filesystem::path(root.empty() ? "." : root) / directory;
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(base)) {
        if (entry.is_regular_file() && entry.path().string().ends_with(suffix)) {
            files.push_back(entry.path().string());
        }
    }
    std::ranges::sort(files);
    return files;
}

}  // namespace molesignal
