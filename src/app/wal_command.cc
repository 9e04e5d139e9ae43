#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands.h"
#include "app/text_table.h"
#include "net/http.h"
#include "wal/wal_inspect.h"

namespace molesignal {
namespace {

struct WalCommandOptions {
    std::string directory;
    bool as_json = false;
};

std::string json_text(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

std::string json_list(const std::vector<std::string>& texts) {
    std::string out = "[";
    for (const auto& text : texts) {
        out += (out.size() > 1 ? "," : "") + json_text(text);
    }
    return out + "]";
}

std::string_view state_of(const WalSegmentSummary& segment) {
    if (segment.never_written) {
        return "prepared";
    }
    if (segment.damaged) {
        return "damaged";
    }
    return segment.header_valid ? "ok" : "torn";
}

std::string inspection_json(const WalInspection& log) {
    std::string segments;
    for (const auto& segment : log.segments) {
        segments += fmt::format(
            R"({}{{"number":{},"path":{},"state":"{}","file_bytes":{},"used_bytes":{},"live_bytes":{},)"
            R"("unreadable_bytes":{},"records":{},"first_lsn":{},"last_lsn":{}}})",
            segments.empty() ? "" : ",",
            segment.number,
            json_text(segment.path),
            state_of(segment),
            segment.file_bytes,
            segment.used_bytes,
            segment.live_bytes,
            segment.unreadable_bytes,
            segment.records,
            segment.first_lsn.value,
            segment.last_lsn.value);
    }
    std::string queues;
    for (const auto& queue : log.queues) {
        queues += fmt::format(
            R"({}{{"queue":{},"truncated":{},"next":{},"batches":{},"rows":{},"live_bytes":{}}})",
            queues.empty() ? "" : ",",
            queue.queue.value,
            queue.truncated.value,
            queue.next.value,
            queue.batches,
            queue.rows,
            queue.live_bytes);
    }
    return fmt::format(
        R"({{"log_id":"{:016x}","accepted_lsn":{},"batches":{},"rows":{},"torn_bytes":{},)"
        R"("damaged_records":{},"records":{{"batch":{},"queue_created":{},"truncate":{},)"
        R"("queue_deleted":{},"checkpoint":{},"mark":{}}},"segments":[{}],"queues":[{}],)"
        R"("damage":{}}})"
        "\n",
        log.log_id,
        log.accepted_lsn.value,
        log.replay.batches,
        log.replay.rows,
        log.replay.torn_bytes,
        log.replay.damaged_records,
        log.records.batches,
        log.records.queues_created,
        log.records.truncates,
        log.records.queues_deleted,
        log.records.checkpoints,
        log.records.marks,
        segments,
        queues,
        json_list(log.damage));
}

std::string inspection_text(const WalInspection& log) {
    const auto number = [](std::uint64_t value) {
        return TextTable::Cell{.text = std::to_string(value), .is_number = true};
    };
    TextTable segments({"segment", "state", "first_lsn", "last_lsn", "records", "used", "live"});
    for (const auto& segment : log.segments) {
        segments.add({number(segment.number),
                      {.text = std::string(state_of(segment))},
                      number(segment.first_lsn.value),
                      number(segment.last_lsn.value),
                      number(segment.records),
                      number(segment.used_bytes),
                      number(segment.live_bytes)});
    }
    TextTable queues({"queue", "truncated", "next", "batches", "rows", "live"});
    for (const auto& queue : log.queues) {
        queues.add({number(queue.queue.value),
                    number(queue.truncated.value),
                    number(queue.next.value),
                    number(queue.batches),
                    number(queue.rows),
                    number(queue.live_bytes)});
    }
    auto out = fmt::format(
        "log {:016x}: {} rows in {} live batches, up to LSN {}; {} torn bytes, {} damaged "
        "records\n\n{}\n{}",
        log.log_id,
        log.replay.rows,
        log.replay.batches,
        log.accepted_lsn.value,
        log.replay.torn_bytes,
        log.replay.damaged_records,
        segments.render(),
        queues.render());
    for (const auto& finding : log.damage) {
        out += fmt::format("damage: {}\n", escape_for_terminal(finding));
    }
    return out;
}

ExitCode inspect(CommandContext& context, const WalCommandOptions& options) {
    const auto log = inspect_wal(context.request_context(), context.fs, options.directory);
    if (!log.has_value()) {
        return context.fail(log.error());
    }
    const auto done =
        context.print(options.as_json ? inspection_json(*log) : inspection_text(*log));
    return done.has_value() ? ExitCode::kOk : ExitCode::kFailure;
}

ExitCode verify(CommandContext& context, const WalCommandOptions& options) {
    const auto damage = verify_wal(context.request_context(), context.fs, options.directory);
    if (!damage.has_value()) {
        return context.fail(damage.error());
    }
    std::string out;
    if (options.as_json) {
        out = fmt::format("{{\"ok\":{},\"damage\":{}}}\n", damage->empty(), json_list(*damage));
    } else {
        for (const auto& finding : *damage) {
            out += escape_for_terminal(finding) + "\n";
        }
    }
    if (const auto done = context.print(out); !done.has_value()) {
        return ExitCode::kFailure;
    }
    if (damage->empty()) {
        context.note("the log is whole");
        return ExitCode::kOk;
    }
    return ExitCode::kFindings;
}

}  // namespace

void register_wal_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand("wal",
                                       "Look into a write-ahead log without changing it\n\n"
                                       "Stop the server first: rows on their way look like a torn "
                                       "tail.\n\nExamples:\n"
                                       "  molesignal wal inspect ./data/wal\n"
                                       "  molesignal wal verify ./data/wal --json\n");
    command->require_subcommand(0, 1);
    const auto add = [&](const char* name,
                         const char* description,
                         ExitCode (*run)(CommandContext&, const WalCommandOptions&)) {
        auto options = std::make_shared<WalCommandOptions>();
        auto* verb = command->add_subcommand(name, description);
        verb->add_option("directory", options->directory, "The log's directory (wal.dir)")
            ->required();
        verb->add_flag("--json", options->as_json, "Print JSON");
        verb->callback([&context, options, run] {
            context.run = [&context, options, run] { return run(context, *options); };
        });
    };
    add("inspect",
        "Print segments, queues and what a start would find\n\nExamples:\n"
        "  molesignal wal inspect ./data/wal\n",
        inspect);
    add("verify",
        "Name what is damaged; exit code 3 if anything is\n\nExamples:\n"
        "  molesignal wal verify ./data/wal\n",
        verify);
}

}  // namespace molesignal
