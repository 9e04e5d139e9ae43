#include "app/command_context.h"

#include <csignal>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

namespace {

/// What the signal handler sets; the token lives for the rest of the process.
CancelToken* g_interrupted = nullptr;

void on_interrupt(int /*signal*/) {
    g_interrupted->cancel();
}

}  // namespace

void CommandContext::catch_interrupts() {
    MS_ASSERT(g_interrupted == nullptr);
    g_interrupted = new CancelToken(interrupted);  // NOLINT: never freed, a signal may come late.
    struct sigaction action = {};
    action.sa_handler = on_interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

Result<> CommandContext::print(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0) {
        return Error(ErrorCode::kCancelled, "cannot write to standard output");
    }
    return {};
}

void CommandContext::note(std::string_view message) const {
    if (!is_quiet) {
        fmt::print(stderr, "{}\n", message);
    }
}

void CommandContext::complain(std::string_view message) const {
    fmt::print(stderr, "{} {}\n", has_color ? "\x1b[31merror:\x1b[0m" : "error:", message);
}

ExitCode CommandContext::fail(const Error& error) const {
    if (error.code() == ErrorCode::kCancelled && interrupted.cancelled()) {
        note("interrupted");
    } else {
        complain(error.message());
    }
    return exit_code_of(error);
}

RequestContext CommandContext::request_context() const {
    auto context = RequestContext::background(clock, "cli");
    context.cancel = interrupted;
    return context;
}

std::string CommandContext::variable(const std::string& name, std::string otherwise) const {
    const auto found = env.find(name);
    return found == env.end() || found->second.empty() ? std::move(otherwise) : found->second;
}

}  // namespace molesignal
