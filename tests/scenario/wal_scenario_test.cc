// Scripts of tests/scenario/wal: the log by itself, its files in memory.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/crash_fs.h"
#include "tests/support/data_driven.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"
#include "wal/wal.h"
#include "wal/wal_inspect.h"

namespace molesignal {
namespace {

constexpr const char* kDirectory = "wal";
constexpr std::uint64_t kCrashSeed = 1;

std::string error_line(const Error& error) {
    return fmt::format("error: {}\n", error.message());
}

/// Interprets one script.
class WalScript {
public:
    std::string run(const DataCommand& command) {
        static const std::map<std::string, std::string (WalScript::*)(const DataCommand&)> kVerbs =
            {{"open", &WalScript::open},
             {"create", &WalScript::create},
             {"append", &WalScript::append},
             {"commit", &WalScript::commit},
             {"truncate", &WalScript::truncate},
             {"delete", &WalScript::remove},
             {"close", &WalScript::close},
             {"crash", &WalScript::crash},
             {"inspect", &WalScript::inspect},
             {"verify", &WalScript::verify},
             {"damage", &WalScript::damage},
             {"fail", &WalScript::fail},
             {"heal", &WalScript::heal},
             {"stats", &WalScript::stats}};
        const auto verb = kVerbs.find(command.name);
        return verb == kVerbs.end() ? "no such command\n" : (this->*verb->second)(command);
    }

private:
    std::string open(const DataCommand& command) {
        options_.segment_bytes = static_cast<std::uint64_t>(
            command.number("segment", static_cast<std::int64_t>(options_.segment_bytes)));
        options_.total_bytes_max = static_cast<std::uint64_t>(
            command.number("total", static_cast<std::int64_t>(options_.total_bytes_max)));
        std::string out;
        auto opened = Wal::open(context_, kDirectory, options_, *faults_, clock_, metrics_);
        if (!opened) {
            return error_line(opened.error());
        }
        wal_ = std::move(*opened);
        const auto delivered = wal_->replay(context_, [&out](const WalBatch& batch) -> Result<> {
            out += fmt::format("queue {} rows {}..{}: {}\n",
                               batch.queue.value,
                               batch.begin.value,
                               batch.begin.value + batch.rows,
                               shortened(as_text(batch.payload)));
            return {};
        });
        if (!delivered) {
            return out + error_line(delivered.error());
        }
        for (const auto& queue : wal_->queues()) {
            out += fmt::format("queue {} '{}' from {} to {}\n",
                               queue.queue.value,
                               as_text(queue.description),
                               queue.truncated.value,
                               queue.next.value);
        }
        const auto& stats = wal_->replay_stats();
        if (stats.damaged_records > 0) {
            out += fmt::format("damaged records: {}\n", stats.damaged_records);
        }
        for (const auto& segment : stats.quarantined_segments) {
            out += fmt::format("quarantined: {}\n", segment);
        }
        return out.empty() ? "an empty log\n" : out;
    }
    std::string create(const DataCommand& command) {
        return outcome(
            wal_->create_queue(context_, queue(command), as_bytes(command.text("name"))));
    }
    /// `bytes=N` makes a payload of N letters; else the input lines are it.
    std::string append(const DataCommand& command) {
        const auto times = command.number("times", 1);
        std::string out;
        for (std::int64_t i = 0; i < times; ++i) {
            const auto text =
                command.has("bytes")
                    ? std::string(static_cast<std::size_t>(command.number("bytes")), 'x')
                    : command.text("text");
            const auto rows = static_cast<std::uint32_t>(command.number("rows", 1));
            auto& next = next_[queue(command).value];
            const Position begin{
                static_cast<std::uint64_t>(command.number("at", static_cast<std::int64_t>(next)))};
            const Bytes pieces[] = {as_bytes(text)};
            const auto appended = wal_->append(queue(command), begin, rows, pieces);
            if (!appended) {
                return out + error_line(appended.error());
            }
            last_ = *appended;
            next = begin.value + rows;
        }
        return "appended\n";
    }
    std::string commit(const DataCommand&) { return outcome(wal_->commit(context_, last_)); }
    std::string truncate(const DataCommand& command) {
        return outcome(wal_->truncate(
            context_, queue(command), Position{static_cast<std::uint64_t>(command.number("to"))}));
    }
    std::string remove(const DataCommand& command) {
        return outcome(wal_->delete_queue(context_, queue(command)));
    }
    std::string close(const DataCommand&) {
        const auto closed = wal_->close(context_);
        wal_.reset();
        return outcome(closed);
    }
    std::string crash(const DataCommand& command) {
        const auto model = command.text("model", "drop");
        const auto kind = model == "blocks"  ? CrashModel::kRandomBlocks
                          : model == "torn"  ? CrashModel::kTornSectors
                          : model == "names" ? CrashModel::kMetadataWithoutData
                                             : CrashModel::kDropUnsynced;
        wal_.reset();
        faults_.reset();
        files_ = files_->clone_after_crash(kCrashSeed, kind);
        faults_ = std::make_unique<FaultFs>(*files_);
        return "";
    }
    std::string inspect(const DataCommand&) {
        const auto log = inspect_wal(context_, *files_, kDirectory);
        if (!log) {
            return error_line(log.error());
        }
        std::string out;
        for (const auto& segment : log->segments) {
            out += fmt::format("segment {}: {}{} records, lsn {}..{}, {}\n",
                               segment.number,
                               segment.never_written ? "prepared, " : "",
                               segment.records,
                               segment.first_lsn.value,
                               segment.last_lsn.value,
                               segment.live_bytes > 0 ? "live" : "nothing live");
        }
        for (const auto& queue : log->queues) {
            out += fmt::format("queue {}: rows {}..{} in {} batches\n",
                               queue.queue.value,
                               queue.truncated.value,
                               queue.next.value,
                               queue.batches);
        }
        return out;
    }
    std::string verify(const DataCommand&) {
        const auto findings = verify_wal(context_, *files_, kDirectory);
        if (!findings) {
            return error_line(findings.error());
        }
        std::string out;
        for (const auto& finding : *findings) {
            out += finding + "\n";
        }
        return out.empty() ? "no damage\n" : out;
    }
    /// Flips every bit of the byte at `offset` of the segment file `file` (by its place in order).
    std::string damage(const DataCommand& command) {
        const auto entries = files_->list(kDirectory);
        std::vector<std::string> segments;
        for (const auto& entry : *entries) {
            if (entry.name.ends_with(".wal")) {
                segments.push_back(entry.name);
            }
        }
        std::ranges::sort(segments);
        const auto number = static_cast<std::size_t>(command.number("file", 0));
        if (number >= segments.size()) {
            return fmt::format("there are {} segments\n", segments.size());
        }
        const auto file =
            files_->open(fmt::format("{}/{}", kDirectory, segments[number]), OpenMode::kReadWrite);
        const auto offset = static_cast<std::uint64_t>(command.number("offset"));
        std::byte byte{};
        if (auto read = (*file)->read_at(offset, MutableBytes(&byte, 1)); !read) {
            return error_line(read.error());
        }
        byte = ~byte;
        return outcome((*file)->write_at(offset, Bytes(&byte, 1)));
    }
    std::string fail(const DataCommand& command) {
        const auto verb = command.text("verb");
        FsFault fault;
        fault.verbs = {verb == "sync" ? FsVerb::kSync : FsVerb::kWrite};
        fault.plan.times = command.has("for_ever") ? FaultTimes::kForEver : FaultTimes::kOnce;
        fault.code =
            command.has("no_space") ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable;
        faults_->arm(fault);
        return "";
    }
    std::string heal(const DataCommand&) {
        faults_->disarm();
        return "";
    }
    std::string stats(const DataCommand&) {
        const auto stats = wal_->stats();
        return fmt::format("segments {}, read_only {}\n", stats.segments, stats.read_only);
    }

    static QueueId queue(const DataCommand& command) {
        return QueueId{static_cast<std::uint64_t>(command.number("queue", 1))};
    }
    static std::string outcome(const Result<>& result) {
        return result ? "ok\n" : error_line(result.error());
    }
    static std::string shortened(std::string_view text) {
        constexpr std::size_t kShown = 24;
        return text.size() <= kShown
                   ? std::string(text)
                   : fmt::format("{}… ({} bytes)", text.substr(0, kShown / 2), text.size());
    }

    ManualClock clock_;
    MetricRegistry metrics_;
    WalOptions options_{.segment_bytes = 4096, .total_bytes_max = 1U << 20U, .reserve_bytes = 4096};
    RequestContext context_ = RequestContext::background(clock_, "script");
    std::unique_ptr<CrashFs> files_ = std::make_unique<CrashFs>();
    std::unique_ptr<FaultFs> faults_ = std::make_unique<FaultFs>(*files_);
    std::unique_ptr<Wal> wal_;
    Lsn last_;
    std::map<std::uint64_t, std::uint64_t> next_;
};

class WalScenario : public ::testing::TestWithParam<std::string> {};

TEST_P(WalScenario, Script) {
    WalScript script;
    EXPECT_EQ(run_data_driven(GetParam(),
                              [&](const DataCommand& command) { return script.run(command); }),
              "");
}

INSTANTIATE_TEST_SUITE_P(Files,
                         WalScenario,
                         ::testing::ValuesIn(data_driven_files("tests/scenario/wal")),
                         [](const auto& info) { return fmt::format("{}", info.index); });

}  // namespace
}  // namespace molesignal
