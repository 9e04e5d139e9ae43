#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/command_context.h"
#include "config/load_config.h"

namespace CLI {
class App;
}  // namespace CLI

namespace molesignal {

/// The options of every command that needs the server's settings.
struct ConfigOptions {
    std::string file;                                        ///< --config, else MS_CONFIG.
    std::vector<std::string> sets;                           ///< --set section.key=value
    std::vector<std::pair<std::string, std::string>> named;  ///< --data-dir and the like, by key.
};

/// Adds --config, --set, --data-dir and the --…-listen options. `options` outlives the parsing.
void add_config_options(CLI::App& command, ConfigOptions& options);

/// Reads the file, the environment and the options. kInvalidArgument for what is wrong in them,
/// kNotFound if the file does not exist.
Result<LoadedConfig> load_command_config(CommandContext& context, const ConfigOptions& options);

}  // namespace molesignal
