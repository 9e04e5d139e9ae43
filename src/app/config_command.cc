#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands.h"
#include "app/config_options.h"

namespace molesignal {

namespace {

ExitCode show(CommandContext& context, const ConfigOptions& options, bool only_defaults) {
    auto loaded = only_defaults ? load_config({}) : load_command_config(context, options);
    if (!loaded.has_value()) {
        return context.fail(loaded.error());
    }
    const auto done = context.print(show_config(*loaded));
    return done.has_value() ? ExitCode::kOk : ExitCode::kFailure;
}

ExitCode check(CommandContext& context, const ConfigOptions& options) {
    const auto loaded = load_command_config(context, options);
    if (loaded.has_value()) {
        context.note("the configuration is valid");
        return ExitCode::kOk;
    }
    context.complain(loaded.error().message());
    return loaded.error().code() == ErrorCode::kInvalidArgument ? ExitCode::kFindings
                                                                : exit_code_of(loaded.error());
}

}  // namespace

void register_config_command(CLI::App& app, CommandContext& context) {
    auto* command =
        app.add_subcommand("config",
                           "Show, check or explain the configuration\n\nExamples:\n"
                           "  molesignal config check --config molesignal.toml\n"
                           "  molesignal config show --set http.listen=127.0.0.1:8080\n");
    auto options = std::make_shared<ConfigOptions>();

    auto* show_command = command->add_subcommand(
        "show",
        "Print every setting in force and where it comes from\n\nExamples:\n"
        "  molesignal config show --config molesignal.toml\n"
        "  molesignal config show --defaults\n");
    auto only_defaults = std::make_shared<bool>(false);
    add_config_options(*show_command, *options);
    show_command->add_flag("--defaults", *only_defaults, "Print the defaults only");
    show_command->callback([&context, options, only_defaults] {
        context.run = [&context, options, only_defaults] {
            return show(context, *options, *only_defaults);
        };
    });

    auto* check_command =
        command->add_subcommand("check",
                                "Say what is wrong; exit code 3 if anything is\n\nExamples:\n"
                                "  molesignal config check --config molesignal.toml\n");
    add_config_options(*check_command, *options);
    check_command->callback([&context, options] {
        context.run = [&context, options] { return check(context, *options); };
    });

    command->add_subcommand("reference", "Print the page docs/config.md")->callback([&context] {
        context.run = [&context] {
            const auto done = context.print(config_reference());
            return done.has_value() ? ExitCode::kOk : ExitCode::kFailure;
        };
    });
}

}  // namespace molesignal
