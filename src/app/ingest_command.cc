#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <simdjson.h>

#include "app/commands.h"
#include "app/row_reader.h"
#include "app/server_connection.h"
#include "app/text_table.h"
#include "common/mutex.h"

namespace molesignal {

namespace {

struct IngestOptions {
    ConnectionOptions connection;
    std::string stream;
    std::vector<std::string> files;
    std::string format = "auto";
    std::string commit = "auto";
    int retries = 10;
    bool as_json = false;
};

constexpr std::int64_t kBackoffMsMin = 250;
constexpr std::int64_t kBackoffMsMax = 30'000;
constexpr std::int64_t kRetryAfterSecsMax = 300;
constexpr std::int64_t kPollMs = 50;  ///< How soon Ctrl-C ends a wait.
constexpr std::int64_t kProgressMs = 100;
constexpr std::uint64_t kReasonsShown = 10;

std::int64_t elapsed_ms(SteadyNanos since, SteadyNanos now) {
    return (now.value - since.value) / 1'000'000;
}

/// One run of `molesignal ingest`.
class Ingest {
public:
    Ingest(CommandContext& context, const IngestOptions& options)
        : context_(context),
          options_(options),
          server_(context, options.connection),
          path_(fmt::format("/api/v1/ingest/logs/{}?commit={}",
                            escape_url_part(options.stream),
                            options.commit)) {}

    ExitCode run();

private:
    std::optional<ExitCode> send_file(const std::string& name);
    std::optional<ExitCode> send_chunk(const std::string& name, const RowChunk& chunk);
    Result<> wait_before_retry(int attempt, const HttpClientResponse& answer);
    Result<> read_answer(const std::string& name, const RowChunk& chunk, const std::string& body);
    void show_progress(const std::string& name, const RowReader& reader);
    void hide_progress();
    ExitCode fail(const std::string& name, Error error);
    Result<> print_totals();

    CommandContext& context_;
    const IngestOptions& options_;
    ServerConnection server_;
    std::string path_;
    std::uint64_t accepted_ = 0;
    std::uint64_t rejected_ = 0;
    std::uint64_t reasons_shown_ = 0;
    SteadyNanos last_progress_;
    bool has_progress_ = false;
};

ExitCode Ingest::run() {
    std::optional<ExitCode> failure;
    for (const auto& name : options_.files) {
        failure = send_file(name);
        if (failure) {
            break;
        }
    }
    hide_progress();
    const auto printed = print_totals();
    if (failure) {
        return *failure;
    }
    if (!printed.has_value()) {
        return ExitCode::kFailure;
    }
    return rejected_ > 0 ? ExitCode::kPartial : ExitCode::kOk;
}

Result<> Ingest::print_totals() {
    return context_.print(
        options_.as_json
            ? fmt::format("{{\"accepted\":{},\"rejected\":{}}}\n", accepted_, rejected_)
            : fmt::format("accepted {}\nrejected {}\n", accepted_, rejected_));
}

ExitCode Ingest::fail(const std::string& name, Error error) {
    hide_progress();
    return context_.fail(std::move(error).wrap(name));
}

std::optional<ExitCode> Ingest::send_file(const std::string& name) {
    auto source = ByteSource::open(context_.fs, name);
    if (!source.has_value()) {
        return fail(name, std::move(source).error());
    }
    const auto format = options_.format == "json"     ? RowFormat::kJson
                        : options_.format == "ndjson" ? RowFormat::kNdjson
                                                      : RowFormat::kAuto;
    RowReader reader(*std::move(source), format, {});
    RowChunk chunk;
    for (;;) {
        const auto more = reader.next(chunk);
        if (!more.has_value()) {
            return fail(name, more.error());
        }
        if (!*more) {
            return std::nullopt;
        }
        show_progress(name, reader);
        if (auto failure = send_chunk(name, chunk)) {
            return failure;
        }
    }
}

/// Sends until the server takes the rows. Only answers that say "not now" are sent again: after a
/// lost connection nobody knows whether the rows were stored, and they must not be doubled.
std::optional<ExitCode> Ingest::send_chunk(const std::string& name, const RowChunk& chunk) {
    for (int attempt = 0;; ++attempt) {
        auto answer = server_.send({.method = "POST",
                                    .path = path_,
                                    .body = chunk.ndjson,
                                    .content_type = "application/x-ndjson"});
        if (!answer.has_value()) {
            return fail(fmt::format("{}:{}", name, chunk.lines.front()), std::move(answer).error());
        }
        if (answer->status / 100 == 2) {
            if (auto done = read_answer(name, chunk, answer->body); !done.has_value()) {
                return fail(name, std::move(done).error());
            }
            return std::nullopt;
        }
        const bool may_retry = answer->status == 429 || answer->status == 503;
        if (!may_retry || attempt >= options_.retries) {
            hide_progress();
            context_.complain(fmt::format("{}:{}: {}",
                                          name,
                                          chunk.lines.front(),
                                          escape_for_terminal(describe_answer(*answer))));
            return exit_code_of_status(answer->status);
        }
        if (auto waited = wait_before_retry(attempt, *answer); !waited.has_value()) {
            return fail(name, std::move(waited).error());
        }
    }
}

/// Waits for what Retry-After says, at least an exponential backoff with jitter.
Result<> Ingest::wait_before_retry(int attempt, const HttpClientResponse& answer) {
    const std::int64_t backoff = std::min(kBackoffMsMax, kBackoffMsMin << std::min(attempt, 10));
    const auto jitter =
        static_cast<std::int64_t>(context_.random.next_u64() % static_cast<std::uint64_t>(backoff));
    std::int64_t wait_ms = (backoff + jitter) / 2;
    std::int64_t retry_after = 0;
    const auto header = answer.header("Retry-After").value_or("");
    std::from_chars(header.data(), header.data() + header.size(), retry_after);
    wait_ms =
        std::max(wait_ms, std::clamp<std::int64_t>(retry_after, 0, kRetryAfterSecsMax) * 1000);

    Mutex mutex;
    CondVar never_notified;
    const auto deadline = context_.clock.steady_now() + std::chrono::milliseconds(wait_ms);
    const MutexLock lock(mutex);
    while (context_.clock.steady_now() < deadline) {
        if (context_.interrupted.cancelled()) {
            return Error(ErrorCode::kCancelled, "interrupted");
        }
        const auto step = context_.clock.steady_now() + std::chrono::milliseconds(kPollMs);
        context_.clock.wait_until(mutex, never_notified, std::min(step, deadline));
    }
    return {};
}

Result<> Ingest::read_answer(const std::string& name,
                             const RowChunk& chunk,
                             const std::string& body) {
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    std::uint64_t accepted = 0;
    if (parser.parse(body).get(document) != simdjson::SUCCESS ||
        document["accepted"].get(accepted) != simdjson::SUCCESS) {
        return Error(ErrorCode::kInternal, "the server's answer does not say what was accepted");
    }
    std::uint64_t rejected = 0;
    static_cast<void>(document["rejected"].get(rejected));
    accepted_ += accepted;
    rejected_ += rejected;
    simdjson::dom::array errors;
    if (document["errors"].get(errors) != simdjson::SUCCESS) {
        return {};
    }
    for (const auto error : errors) {
        std::uint64_t index = 0;
        std::string_view reason;
        if (reasons_shown_ >= kReasonsShown || error["index"].get(index) != simdjson::SUCCESS ||
            error["reason"].get(reason) != simdjson::SUCCESS || index >= chunk.lines.size()) {
            continue;
        }
        hide_progress();
        context_.note(fmt::format(
            "{}:{}: rejected: {}", name, chunk.lines[index], escape_for_terminal(reason)));
        if (++reasons_shown_ == kReasonsShown) {
            context_.note("(further reasons are not shown)");
        }
    }
    return {};
}

void Ingest::show_progress(const std::string& name, const RowReader& reader) {
    if (!context_.is_stderr_terminal || context_.is_quiet) {
        return;
    }
    const auto now = context_.clock.steady_now();
    if (has_progress_ && elapsed_ms(last_progress_, now) < kProgressMs) {
        return;
    }
    last_progress_ = now;
    has_progress_ = true;
    constexpr std::uint64_t kBarWidth = 24;
    std::string bar;
    if (reader.bytes_total() > 0) {
        const auto share = std::min(reader.bytes_read(), reader.bytes_total());
        const auto full = kBarWidth * share / reader.bytes_total();
        bar = fmt::format("[{}{}] {:3}%",
                          std::string(full, '#'),
                          std::string(kBarWidth - full, '.'),
                          100 * share / reader.bytes_total());
    }
    fmt::print(stderr,
               "\r\x1b[K{} {} {} rows, {} rejected",
               escape_for_terminal(name),
               bar,
               accepted_,
               rejected_);
}

void Ingest::hide_progress() {
    if (has_progress_) {
        fmt::print(stderr, "\r\x1b[K");
        has_progress_ = false;
    }
}

}  // namespace

void register_ingest_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand(
        "ingest",
        "Send JSON rows from files to a stream\n\n"
        "Reads one JSON object a line, or a JSON array; gzip and zstd are recognised. Prints how "
        "many\n"
        "rows were accepted and rejected; exit code 6 if some were rejected.\n\nExamples:\n"
        "  molesignal ingest app app.ndjson\n"
        "  molesignal ingest app logs/*.json.gz\n"
        "  journalctl -o json | molesignal ingest journal -\n");
    auto options = std::make_shared<IngestOptions>();
    command->add_option("STREAM", options->stream, "Name of the stream")
        ->required()
        ->type_name("NAME");
    command->add_option("FILE", options->files, "Files; - is standard input")
        ->required()
        ->type_name("FILE");
    command
        ->add_option(
            "--format", options->format, "By default json if the input begins with [, else ndjson")
        ->check(CLI::IsMember({"auto", "ndjson", "json"}))
        ->type_name("FORM");
    command
        ->add_option("--commit",
                     options->commit,
                     "auto: durable and visible (default); wait_for: in a part; force: flush now")
        ->check(CLI::IsMember({"auto", "wait_for", "force"}))
        ->type_name("MODE");
    command
        ->add_option(
            "--retries", options->retries, "Attempts after answers 429 and 503; default 10")
        ->check(CLI::Range(0, 1000))
        ->type_name("COUNT");
    command->add_flag("--json", options->as_json, "Print the totals as JSON");
    add_connection_options(*command, options->connection);
    command->callback([&context, options] {
        context.run = [&context, options] {
            context.catch_interrupts();
            return Ingest(context, *options).run();
        };
    });
}

}  // namespace molesignal
