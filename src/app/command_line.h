#pragma once

#include <string>
#include <vector>

#include "app/command_context.h"

namespace molesignal {

/// Parses the arguments (without the program's name), runs the chosen command and returns how the
/// process should end. Help and version go to stdout; everything that is wrong goes to stderr with
/// the nearest known name.
ExitCode run_command_line(std::vector<std::string> arguments, CommandContext& context);

}  // namespace molesignal
