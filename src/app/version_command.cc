#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands.h"
#include "app/version.h"

namespace molesignal {

namespace {
std::string compiler() {
#if defined(__clang__)
    return fmt::format("Clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
    return fmt::format("GCC {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}
}  // namespace

std::string_view version_number() {
    return MS_VERSION;
}

std::string version_text() {
    return fmt::format("molesignal {} ({}, {})", version_number(), MS_BUILD_TYPE, compiler());
}

void register_version_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand("version",
                                       "Print the version\n\nExamples:\n"
                                       "  molesignal version\n"
                                       "  molesignal version --json\n");
    auto as_json = std::make_shared<bool>(false);
    command->add_flag("--json", *as_json, "As a JSON object");
    command->callback([&context, as_json] {
        context.run = [&context, as_json] {
            const auto text =
                *as_json ? fmt::format(R"({{"name":"molesignal","version":"{}","build":"{}",)"
                                       R"("compiler":"{}"}})",
                                       version_number(),
                                       MS_BUILD_TYPE,
                                       compiler())
                         : version_text();
            const auto done = context.print(text + "\n");
            return done.has_value() ? ExitCode::kOk : ExitCode::kFailure;
        };
    });
}

}  // namespace molesignal
