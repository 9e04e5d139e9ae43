#pragma once

#include "app/command_context.h"

namespace CLI {
class App;
}  // namespace CLI

namespace molesignal {

/// Each adds one subcommand to `app`. Its callback sets `context.run` and does nothing else. The
/// first line of a command's description is its summary in `molesignal --help`; examples follow.
void register_config_command(CLI::App& app, CommandContext& context);
void register_doctor_command(CLI::App& app, CommandContext& context);
void register_index_command(CLI::App& app, CommandContext& context);
void register_ingest_command(CLI::App& app, CommandContext& context);
void register_query_command(CLI::App& app, CommandContext& context);
void register_standalone_command(CLI::App& app, CommandContext& context);
void register_token_command(CLI::App& app, CommandContext& context);
void register_wal_command(CLI::App& app, CommandContext& context);
void register_version_command(CLI::App& app, CommandContext& context);

/// Calls all of the above, in the order of `molesignal --help`.
void register_commands(CLI::App& app, CommandContext& context);

}  // namespace molesignal
