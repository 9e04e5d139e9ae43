#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "app/exit_codes.h"
#include "common/clock.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/result.h"
#include "io/file_system.h"

namespace molesignal {

/// What a command gets from main, and the only way to the terminal.
///
/// stdout is data, stderr is messages. One thread at a time, except `interrupted`.
struct CommandContext {
    Clock& clock;
    Random& random;
    FileSystem& fs;
    std::map<std::string, std::string> env;
    bool is_stdout_terminal = false;
    bool is_stderr_terminal = false;
    bool has_color = false;   ///< stderr is a terminal and NO_COLOR is not set.
    bool is_quiet = false;    ///< --quiet: no messages besides errors, no progress bar.
    CancelToken interrupted;  ///< Set by Ctrl-C once catch_interrupts was called.

    /// Set by the chosen command's callback; main calls it after the arguments are parsed.
    std::function<ExitCode()> run;

    /// Makes the first Ctrl-C set `interrupted`; a second one ends the process. For commands that
    /// talk to a server; the server itself handles its signals.
    void catch_interrupts();

    /// Writes to stdout. kCancelled when the reader has gone (a closed pipe).
    Result<> print(std::string_view text);
    /// Writes one line to stderr unless --quiet.
    void note(std::string_view message) const;
    /// Writes "error: …" to stderr.
    void complain(std::string_view message) const;
    /// Complains and returns the exit code of the error.
    ExitCode fail(const Error& error) const;

    /// A request context without deadline that Ctrl-C cancels.
    RequestContext request_context() const;
    /// The variable's value, or `otherwise`.
    std::string variable(const std::string& name, std::string otherwise) const;
};

}  // namespace molesignal
