#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/config_options.h"
#include "app/failpoint_file.h"
#include "app/version.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/request_context.h"
#include "roles/standalone.h"

namespace molesignal {
namespace {

struct ServerFlags {
    ConfigOptions config;
    std::string ready_file;
    std::string failpoints;
    std::string failpoints_file;
};

void configure_log_from(const Config& config, const Clock& clock) {
    configure_log(static_cast<LogLevel>(static_cast<int>(config.telemetry.log_level) - 1),
                  config.telemetry.log_format == TelemetryLogFormat::kJson ? LogFormat::kJson
                                                                           : LogFormat::kText,
                  clock);
}

sigset_t handled_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

/// Hears the ending signals and SIGHUP from the begin of the start on. The first one cancels the
/// start, or begins the drain; a second one ends the process at once: what was acknowledged is in
/// the log already. The signals are blocked before any thread starts, so that only its thread gets
/// them, which lives as long as the process.
class EndingSignals {
public:
    EndingSignals() : state_(std::make_shared<State>()) {
        std::thread([state = state_] { listen(*state); }).detach();
    }

    /// What SIGHUP does; nothing before this is set, and once it is taken back.
    void on_hangup(std::function<void()> action) {
        const MutexLock lock(state_->mutex);
        state_->hangup = std::move(action);
    }
    /// Set by the first signal.
    const CancelToken& stop() const { return state_->stop; }
    void wait() {
        auto& state = *state_;
        const MutexLock lock(state.mutex);
        while (!state.stop.cancelled()) {
            state.heard.wait(state.mutex);
        }
    }

private:
    struct State {
        CancelToken stop;
        Mutex mutex;
        CondVar heard;
        std::function<void()> hangup MS_GUARDED_BY(mutex);
    };
    /// The next signal that ends; those before it reload.
    static int next_signal(State& state) {
        const auto set = handled_signals();
        for (int number = 0;;) {
            if (::sigwait(&set, &number) != 0) {
                continue;
            }
            if (number != SIGHUP) {
                return number;
            }
            // Under the lock: the server does not end while it reloads.
            const MutexLock lock(state.mutex);
            if (state.hangup) {
                state.hangup();
            } else {
                log_warn("SIGHUP: the configuration is reloaded only while the server is ready");
            }
        }
    }
    static void listen(State& state) {
        const auto number = next_signal(state);
        log_info("stopping", {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
        {
            const MutexLock lock(state.mutex);
            state.stop.cancel();
            state.heard.notify_all();
        }
        next_signal(state);
        log_warn("a second signal: ending without finishing requests");
        ::_exit(static_cast<int>(ExitCode::kInterrupted));
    }

    std::shared_ptr<State> state_;
};

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

/// The file of an earlier run says addresses that nobody listens on.
Result<> remove_ready_file(FileSystem& fs, const std::string& path) {
    if (path.empty()) {
        return {};
    }
    auto removed = fs.remove(path);
    if (!removed && removed.error().code() == ErrorCode::kNotFound) {
        return {};
    }
    return removed;
}

ExitCode serve(CommandContext& context,
               const ServerFlags& flags,
               const Config& config,
               EndingSignals& signals) {
    if (auto removed = remove_ready_file(context.fs, flags.ready_file); !removed) {
        return context.fail(removed.error());
    }
    auto server = Standalone::start(config,
                                    std::string(version_number()),
                                    context.fs,
                                    context.clock,
                                    context.random,
                                    signals.stop());
    if (!server) {
        if (signals.stop().cancelled()) {
            log_info("stopped before the server was ready");
            return ExitCode::kOk;
        }
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
    signals.on_hangup([&] {
        const auto again = load_command_config(context, flags.config);
        const auto wanted = again ? Result<Config>(again->config) : Result<Config>(again.error());
        configure_log_from((*server)->reload(wanted), context.clock);
    });
    signals.wait();
    signals.on_hangup({});
    (void)remove_ready_file(context.fs, flags.ready_file);
    const auto drained = (*server)->drain();
    server->reset();
    if (!drained) {
        return context.fail(drained.error());
    }
    log_info("stopped");
    return ExitCode::kOk;
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
    const auto set = handled_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    EndingSignals signals;
    log_info("starting",
             {{"version", version_number()}, {"data_dir", loaded->config.node.data_dir}});
    std::optional<FailpointFile> failpoint_file;
    if (!flags.failpoints_file.empty()) {
        failpoint_file.emplace(context.fs, context.clock, flags.failpoints_file);
    }
    return serve(context, flags, loaded->config, signals);
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
    command->add_option("--failpoints-file", flags->failpoints_file)->group("");
    command->callback([&context, flags] {
        context.run = [&context, flags] { return run_server(context, *flags); };
    });
}

}  // namespace molesignal
