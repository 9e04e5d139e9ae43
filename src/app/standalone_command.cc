#include <csignal>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/config_options.h"
#include "app/version.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "roles/standalone.h"

namespace molesignal {
namespace {

struct ServerFlags {
    ConfigOptions config;
    std::string ready_file;
    std::string failpoints;
};

void configure_log_from(const Config& config, const Clock& clock) {
    configure_log(static_cast<LogLevel>(static_cast<int>(config.telemetry.log_level) - 1),
                  config.telemetry.log_format == TelemetryLogFormat::kJson ? LogFormat::kJson
                                                                           : LogFormat::kText,
                  clock);
}

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

/// Waits for the first signal; from then on a second one ends the process at once: what was
/// acknowledged is in the log already.
void wait_for_signal() {
    const auto set = ending_signals();
    int number = 0;
    while (::sigwait(&set, &number) != 0) {
    }
    std::thread([set] {
        int second = 0;
        while (::sigwait(&set, &second) != 0) {
        }
        log_warn("a second signal: ending without finishing requests");
        ::_exit(static_cast<int>(ExitCode::kInterrupted));
    }).detach();
    log_info("draining", {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
}

void say_where(const CommandContext& context, const Standalone& server) {
    const auto& at = server.addresses();
    context.note(
        fmt::format("MoleSignal {} is ready\n"
                    "  HTTP        http://{}\n"
                    "  OTLP        http://{}/v1/logs and gRPC {}\n\n"
                    "Send a row:   curl http://{}/api/v1/ingest/logs/app -d "
                    "'{{\"level\":\"info\",\"message\":\"hello\"}}'\n"
                    "Ask for it:   molesignal query --url http://{} 'SELECT * FROM logs.app'\n",
                    version_number(),
                    at.http,
                    at.otlp_http,
                    at.otlp_grpc,
                    at.http,
                    at.http));
    if (!server.first_token().empty()) {
        context.note(
            fmt::format("This is the first start with tokens. The admin token, shown once:\n  {}\n",
                        server.first_token()));
    }
}

ExitCode run_server(CommandContext& context, const ServerFlags& flags) {
    if (!flags.failpoints.empty()) {
        if (const auto armed = arm_failpoints(flags.failpoints); !armed) {
            return context.fail(armed.error());
        }
    }
    const auto loaded = load_command_config(context, flags.config);
    if (!loaded) {
        return context.fail(loaded.error());
    }
    configure_log_from(loaded->config, context.clock);
    // Blocked before any thread starts, so that only wait_for_signal gets them.
    const auto set = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    auto server = Standalone::start(
        loaded->config, std::string(version_number()), context.fs, context.clock, context.random);
    if (!server) {
        return context.fail(server.error());
    }
    // Before the ready file: who waits for it may look for the first token at once.
    say_where(context, **server);
    if (!flags.ready_file.empty()) {
        if (const auto written =
                write_ready_file(context.fs, flags.ready_file, (*server)->addresses(), ::getpid());
            !written) {
            (void)(*server)->drain();
            return context.fail(written.error());
        }
    }
    wait_for_signal();
    const auto drained = (*server)->drain();
    server->reset();
    if (!drained) {
        return context.fail(drained.error());
    }
    log_info("stopped");
    return ExitCode::kOk;
}

}  // namespace

void register_standalone_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand("standalone",
                                       "Run the whole server in one process\n\nExamples:\n"
                                       "  molesignal standalone --data-dir ./data\n"
                                       "  molesignal standalone --config molesignal.toml "
                                       "--http-listen 127.0.0.1:0 --ready-file ready.json\n");
    auto flags = std::make_shared<ServerFlags>();
    add_config_options(*command, flags->config);
    command->add_option("--ready-file",
                        flags->ready_file,
                        "Write addresses and process id there (JSON) when ready");
    command->add_option("--failpoints", flags->failpoints)->group("");
    command->callback([&context, flags] {
        context.run = [&context, flags] { return run_server(context, *flags); };
    });
}

}  // namespace molesignal
