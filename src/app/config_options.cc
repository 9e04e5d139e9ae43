#include "app/config_options.h"

#include <array>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace molesignal {

namespace {

constexpr std::uint64_t kFileBytesMax = 1 << 20;

struct NamedOption {
    const char* flag;
    const char* key;
    const char* what;
};
constexpr std::array<NamedOption, 5> kNamed{{
    {"--data-dir", "node.data_dir", "Directory for everything that is kept"},
    {"--http-listen", "http.listen", "ADDRESS:PORT of the HTTP API; port 0 takes a free one"},
    {"--grpc-listen", "grpc.listen", "ADDRESS:PORT of the gRPC API"},
    {"--otlp-grpc-listen", "otlp.grpc_listen", "ADDRESS:PORT of OTLP over gRPC"},
    {"--otlp-http-listen", "otlp.http_listen", "ADDRESS:PORT of OTLP over HTTP"},
}};

}  // namespace

void add_config_options(CLI::App& command, ConfigOptions& options) {
    command.add_option("--config", options.file, "TOML file with settings (or MS_CONFIG)")
        ->type_name("FILE");
    command.add_option("--set", options.sets, "Set one setting; may be repeated (docs/config.md)")
        ->type_name("SECTION.KEY=VALUE")
        ->expected(1)
        ->take_all();
    for (const auto& named : kNamed) {
        command
            .add_option_function<std::string>(
                named.flag,
                [&options, key = named.key](const std::string& value) {
                    options.named.emplace_back(key, value);
                },
                named.what)
            ->type_name(named.key == std::string_view("node.data_dir") ? "DIR" : "ADDR:PORT");
    }
}

Result<LoadedConfig> load_command_config(CommandContext& context, const ConfigOptions& options) {
    ConfigSources sources;
    sources.env = context.env;
    sources.file_name = options.file.empty() ? context.variable("MS_CONFIG", "") : options.file;
    if (!sources.file_name.empty()) {
        auto bytes = read_file(context.fs, sources.file_name, kFileBytesMax);
        if (!bytes.has_value()) {
            return std::move(bytes).error().wrap(
                fmt::format("read the configuration file '{}'", sources.file_name));
        }
        sources.file_text = std::string(as_text(*bytes));
    }
    for (const auto& set : options.sets) {
        MS_TRY(auto pair, parse_set_flag(set));
        sources.flags.push_back(std::move(pair));
    }
    sources.flags.insert(sources.flags.end(), options.named.begin(), options.named.end());
    return load_config(sources);
}

}  // namespace molesignal
