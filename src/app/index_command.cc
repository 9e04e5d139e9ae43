#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands.h"
#include "app/config_options.h"
#include "app/text_table.h"
#include "common/log.h"
#include "roles/index_rebuild.h"

namespace molesignal {
namespace {

/// Between two lines of progress where stderr is no terminal.
constexpr std::chrono::seconds kProgressLines{30};

struct RebuildFlags {
    ConfigOptions config;
    std::string org;
    std::string stream;
    bool all = false;
    bool is_dry_run = false;
};

/// "12 of 400 parts": on one line of a terminal, or as a line from time to time.
class PartProgress {
public:
    explicit PartProgress(const CommandContext& context)
        : context_(context), said_(context.clock.steady_now()) {}

    void show(std::size_t done, std::size_t total) {
        const auto text = fmt::format("{} of {} parts", done, total);
        if (context_.is_stderr_terminal && !context_.is_quiet) {
            fmt::print(stderr, "\r{}\033[K", text);
            std::fflush(stderr);
            is_shown_ = true;
        } else if (context_.clock.steady_now() >= said_ + kProgressLines) {
            said_ = context_.clock.steady_now();
            context_.note(text);
        }
    }
    /// Before something else is written.
    void hide() {
        if (std::exchange(is_shown_, false)) {
            fmt::print(stderr, "\r\033[K");
            std::fflush(stderr);
        }
    }

private:
    const CommandContext& context_;
    SteadyNanos said_;
    bool is_shown_ = false;
};

std::string line_of(const IndexFinding& finding) {
    return escape_for_terminal(
        fmt::format("{} part {}: {}", finding.stream, finding.part, finding.reason));
}

ExitCode run_rebuild(CommandContext& context, const RebuildFlags& flags) {
    const auto loaded = load_command_config(context, flags.config);
    if (!loaded) {
        return context.fail(loaded.error());
    }
    context.catch_interrupts();
    // What happens to a part is said below.
    configure_log(LogLevel::kWarn, LogFormat::kText, context.clock);
    PartProgress progress(context);
    Result<> printed;
    IndexRebuildOptions options{
        .org = flags.org, .stream = flags.stream, .all = flags.all, .dry_run = flags.is_dry_run};
    options.progress = [&](std::size_t done, std::size_t total) { progress.show(done, total); };
    options.found = [&](const IndexFinding& finding) {
        progress.hide();
        if (printed) {
            printed = context.print(line_of(finding) + "\n");
        }
    };
    const auto report = rebuild_indexes(context.request_context(),
                                        loaded->config,
                                        options,
                                        context.fs,
                                        context.clock,
                                        context.random);
    progress.hide();
    if (!report) {
        return context.fail(report.error());
    }
    for (const auto& failure : report->failures) {
        context.complain(line_of(failure));
    }
    auto summary = fmt::format("{} parts, {} {}",
                               report->parts,
                               report->rebuilt,
                               flags.is_dry_run ? "would get a new index" : "have a new index");
    if (report->gone > 0) {
        summary += fmt::format(", {} were merged or removed meanwhile", report->gone);
    }
    if (!report->failures.empty()) {
        summary += fmt::format(", {} failed", report->failures.size());
    }
    if (printed) {
        printed = context.print(summary + "\n");
    }
    return report->failures.empty() && printed ? ExitCode::kOk : ExitCode::kFailure;
}

}  // namespace

void register_index_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand("index",
                                       "Give parts a new search index\n\nExamples:\n"
                                       "  molesignal index rebuild --dry-run\n"
                                       "  molesignal index rebuild --stream app\n");
    command->require_subcommand(0, 1);
    auto* verb = command->add_subcommand(
        "rebuild",
        "Write parts anew whose index is missing or damaged\n\n"
        "Beside a running server or without one, as the user that the server runs as. Every index "
        "is read and compared with its hash. A part whose rows are damaged stays as it is and is "
        "named. It works at the pace of compactor.cpu_percent and compactor.bytes_per_second. Exit "
        "code 0: no part lacks an index any more; 1: a part could not be done, or the work ended "
        "early; 4: no such data directory, organisation or stream.\n\nExamples:\n"
        "  molesignal index rebuild --data-dir ./data --dry-run\n"
        "  molesignal index rebuild --config molesignal.toml --stream app\n"
        "  molesignal index rebuild --all --set compactor.cpu_percent=100\n");
    auto flags = std::make_shared<RebuildFlags>();
    add_config_options(*verb, flags->config);
    verb->add_option("--stream", flags->stream, "Parts of streams of this name only");
    verb->add_option("--org", flags->org, "Parts of this organisation only, by its slug");
    verb->add_flag("--all",
                   flags->all,
                   "All parts: after a change of a stream's full_text_fields, or for the index of "
                   "a newer version");
    verb->add_flag("--dry-run", flags->is_dry_run, "Only name the parts; change nothing");
    verb->callback([&context, flags] {
        context.run = [&context, flags] { return run_rebuild(context, *flags); };
    });
}

}  // namespace molesignal
