#include "app/command_line.h"

#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands.h"
#include "app/version.h"
#include "common/failpoint.h"
#include "common/nearest_name.h"

namespace molesignal {

namespace {

constexpr const char* kDescription = R"(MoleSignal: logs in by HTTP and OpenTelemetry, SQL out.

Examples:
  molesignal standalone --data-dir ./data
  molesignal ingest app app.ndjson.gz
  molesignal query 'SELECT level, count(*) FROM logs.app GROUP BY level'
)";

constexpr const char* kFooter = R"(
Exit codes: 0 ok, 1 failure, 2 usage, 3 findings, 4 not found, 5 credentials, 6 partial result,
7 time-out, 75 try again later, 130 interrupted.
Environment: MS_URL, MS_TOKEN, MS_CONFIG, NO_COLOR, and MS_SECTION_KEY for every setting.
`molesignal COMMAND --help` has the options and examples of a command.
)";

/// Shows only the first line of a subcommand's description in its parent's list.
class SummaryFormatter : public CLI::Formatter {
public:
    std::string make_subcommand(const CLI::App* sub) const override {
        const auto description = sub->get_description();
        return fmt::format(
            "  {:<14}{}\n", sub->get_name(), description.substr(0, description.find('\n')));
    }
    std::string make_footer(const CLI::App* app) const override {
        const auto footer = app->get_footer();
        return footer.empty() ? footer : footer + "\n";
    }
};

const CLI::App& innermost(const CLI::App& app) {
    const auto chosen = app.get_subcommands();
    return chosen.empty() ? app : innermost(*chosen.front());
}

/// The option or subcommand of `app` that `word` was probably meant to be.
std::string nearest_word(const CLI::App& app, const std::string& word) {
    std::vector<std::string> known;
    if (word.starts_with("-")) {
        for (const auto* option : app.get_options()) {
            for (const auto& name : option->get_lnames()) {
                known.push_back("--" + name);
            }
        }
    } else {
        for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
            known.push_back(sub->get_name());
        }
    }
    const std::string bare = word.substr(0, word.find('='));
    const auto nearest = nearest_name(bare, {known.begin(), known.end()});
    return nearest ? std::string(*nearest) : std::string();
}

/// What to say about arguments that nobody took.
std::string describe_unknown(const CLI::App& app) {
    const auto& chosen = innermost(app);
    const auto remaining = app.remaining(true);
    if (remaining.empty()) {
        return "unknown argument";
    }
    const auto& word = remaining.front();
    const bool is_option = word.starts_with("-");
    std::string kind = "argument";
    if (is_option) {
        kind = "option";
    } else if (!chosen.get_subcommands([](const CLI::App*) { return true; }).empty()) {
        kind = "command";
    }
    auto message = fmt::format("unknown {} '{}'", kind, word);
    if (const auto nearest = nearest_word(chosen, word); !nearest.empty()) {
        message += fmt::format("; did you mean '{}'?", nearest);
    }
    return message;
}

std::string full_name(const CLI::App& app) {
    const auto chosen = app.get_subcommands();
    return app.get_name() + (chosen.empty() ? "" : " " + full_name(*chosen.front()));
}

ExitCode run_chosen(const CLI::App& app, CommandContext& context, bool lists_failpoints) {
    if (lists_failpoints) {
        for (const auto name : failpoint_names()) {
            if (!context.print(fmt::format("{}\n", name)).has_value()) {
                return ExitCode::kFailure;
            }
        }
        return ExitCode::kOk;
    }
    if (!context.run) {
        context.complain(fmt::format("'{}' needs a command", full_name(app)));
        context.note(fmt::format("See: {} --help", full_name(app)));
        return ExitCode::kUsage;
    }
    return context.run();
}

}  // namespace

ExitCode run_command_line(std::vector<std::string> arguments, CommandContext& context) {
    // `molesignal --config FILE` starts the server.
    if (!arguments.empty() &&
        (arguments[0] == "--config" || arguments[0].starts_with("--config="))) {
        arguments.insert(arguments.begin(), "standalone");
    }
    CLI::App app(kDescription, "molesignal");
    app.formatter(std::make_shared<SummaryFormatter>());
    app.get_formatter()->column_width(32);
    app.set_help_flag("-h,--help", "Print this help and exit");
    app.set_version_flag("--version", version_text(), "Print the version and exit");
    app.require_subcommand(0, 1);
    app.add_flag("-q,--quiet", context.is_quiet, "Print data and errors only");
    bool lists_failpoints = false;
    app.add_flag("--list-failpoints", lists_failpoints)->group("");
    app.fallthrough();
    register_commands(app, context);
    app.footer(kFooter);  // After the commands, which would inherit it.

    std::ranges::reverse(arguments);  // As CLI11 wants it.
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::CallForVersion& request) {
        static_cast<void>(context.print(fmt::format("{}\n", request.what())));
        return ExitCode::kOk;
    } catch (const CLI::CallForHelp&) {
        static_cast<void>(context.print(app.help()));
        return ExitCode::kOk;
    } catch (const CLI::ExtrasError&) {
        context.complain(describe_unknown(app));
        context.note(fmt::format("See: {} --help", full_name(app)));
        return ExitCode::kUsage;
    } catch (const CLI::ParseError& error) {
        context.complain(error.what());
        context.note(fmt::format("See: {} --help", full_name(app)));
        return ExitCode::kUsage;
    }
    return run_chosen(app, context, lists_failpoints);
}

}  // namespace molesignal
