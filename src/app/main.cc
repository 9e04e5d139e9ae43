#include <cstdio>
#include <exception>
#include <string_view>

#include <unistd.h>

#include "app/command_line.h"
#include "io/posix_fs.h"

namespace molesignal {
namespace {

int run(int argc, char** argv, char** environment) {
    SystemClock clock;
    SystemRandom random;
    PosixFs fs;
    CommandContext context{.clock = clock, .random = random, .fs = fs};
    for (char** entry = environment; *entry != nullptr; ++entry) {
        const std::string_view variable(*entry);
        const auto equals = variable.find('=');
        if (equals != std::string_view::npos) {
            context.env.emplace(variable.substr(0, equals), variable.substr(equals + 1));
        }
    }
    context.is_stdout_terminal = isatty(STDOUT_FILENO) == 1;
    context.is_stderr_terminal = isatty(STDERR_FILENO) == 1;
    context.has_color = context.is_stderr_terminal && context.variable("NO_COLOR", "").empty() &&
                        context.variable("TERM", "") != "dumb";
    return static_cast<int>(run_command_line({argv + 1, argv + argc}, context));
}

}  // namespace
}  // namespace molesignal

int main(int argc, char** argv, char** environment) {
    try {
        return molesignal::run(argc, argv, environment);
    } catch (const std::exception& error) {
        std::fputs("error: ", stderr);
        std::fputs(error.what(), stderr);
        std::fputs("\n", stderr);
        return static_cast<int>(molesignal::ExitCode::kFailure);
    }
}
