#include <algorithm>
#include <array>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/config_options.h"
#include "app/text_table.h"
#include "net/http.h"
#include "roles/doctor.h"

namespace molesignal {
namespace {

struct DoctorFlags {
    ConfigOptions config;
    std::string output = "text";
    bool quick = false;
    std::int64_t orphan_age_hours = 24;
};

std::string_view level_name(FindingLevel level) {
    switch (level) {
        case FindingLevel::kOk:
            return "ok";
        case FindingLevel::kWarn:
            return "warn";
        case FindingLevel::kFail:
            return "fail";
    }
    return "fail";
}

std::string json_string(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

/// ok, warnings, failures.
std::array<std::size_t, 3> count_levels(const std::vector<Finding>& findings) {
    std::array<std::size_t, 3> counts{};
    for (const auto& finding : findings) {
        ++counts[static_cast<std::size_t>(finding.level) - 1];
    }
    return counts;
}

std::string render(const std::vector<Finding>& findings, bool as_json) {
    const auto [ok, warnings, failures] = count_levels(findings);
    std::string out;
    for (const auto& finding : findings) {
        if (as_json) {
            out += fmt::format(R"({}{{"level":"{}","area":"{}","text":{}}})",
                               out.empty() ? "" : ",",
                               level_name(finding.level),
                               finding.area,
                               json_string(finding.text));
        } else {
            out += fmt::format("{:<4}  {:<9}  {}\n",
                               level_name(finding.level),
                               finding.area,
                               escape_for_terminal(finding.text));
        }
    }
    if (as_json) {
        return fmt::format(R"({{"ok":{},"warnings":{},"failures":{},"findings":[{}]}})"
                           "\n",
                           failures == 0,
                           warnings,
                           failures,
                           out);
    }
    return out + fmt::format("\n{} ok, {} warnings, {} failures\n", ok, warnings, failures);
}

/// Whether this user may do with the directory what a server does.
void check_permissions(const Config& config, std::vector<Finding>& findings) {
    const auto& directory = config.node.data_dir;
    if (::access(directory.c_str(), F_OK) == 0 &&
        ::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
        findings.push_back({.level = FindingLevel::kWarn,
                            .area = "directory",
                            .text = fmt::format("this user may not read and write {}", directory)});
    }
}

ExitCode run_doctor(CommandContext& context, const DoctorFlags& flags) {
    const auto loaded = load_command_config(context, flags.config);
    if (!loaded) {
        return context.fail(loaded.error());
    }
    context.catch_interrupts();
    ExaminationOptions options{.reads_objects = !flags.quick,
                               .orphan_age = std::chrono::hours(flags.orphan_age_hours)};
    int shown = -1;
    if (context.is_stderr_terminal && !context.is_quiet) {
        options.progress = [&shown](std::uint64_t done, std::uint64_t total) {
            const int percent =
                total == 0 ? 100
                           : static_cast<int>(std::min<std::uint64_t>(100, done * 100 / total));
            if (percent != shown) {
                shown = percent;
                fmt::print(stderr, "\rreading objects: {}%", percent);
                std::fflush(stderr);
            }
        };
    }
    auto findings = examine(context.request_context(),
                            loaded->config,
                            options,
                            context.fs,
                            context.clock,
                            context.random);
    if (shown >= 0) {
        fmt::print(stderr, "\r\033[K");
    }
    if (!findings) {
        return context.fail(findings.error());
    }
    check_permissions(loaded->config, *findings);
    if (const auto done = context.print(render(*findings, flags.output == "json")); !done) {
        return ExitCode::kFailure;
    }
    return count_levels(*findings)[2] == 0 ? ExitCode::kOk : ExitCode::kFindings;
}

}  // namespace

void register_doctor_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand(
        "doctor",
        "Look at everything that a server keeps and say what is wrong\n\n"
        "Reads only; beside a running server or without one. Data directory, write-ahead log, "
        "catalogue, every object with its hash, objects that nothing names. Exit code 0: nothing "
        "is wrong (there may be warnings); 3: something is.\n\nExamples:\n"
        "  molesignal doctor --data-dir ./data\n"
        "  molesignal doctor --config molesignal.toml --quick -o json\n");
    auto flags = std::make_shared<DoctorFlags>();
    add_config_options(*command, flags->config);
    command->add_option("-o,--output", flags->output, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
    command->add_flag("--quick", flags->quick, "Look at the sizes of objects, do not read them");
    command
        ->add_option("--orphan-age-hours",
                     flags->orphan_age_hours,
                     "Report objects that nothing names if they are older")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{876'000}));
    command->callback([&context, flags] {
        context.run = [&context, flags] { return run_doctor(context, *flags); };
    });
}

}  // namespace molesignal
